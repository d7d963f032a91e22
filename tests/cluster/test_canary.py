# SPDX-License-Identifier: Apache-2.0
"""The candidate's share changes without a restart, and each key's variant is the one that its hash says."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from cluster_load import Report
from cluster_release import Figures, Release
from kube import eventually

from slipway_server.runtime.routing import Routing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

STEPS = (0, 1000, 5000, 0)
"""Basis points; the first as installed."""
FOLLOW_SECONDS = 90


@pytest.fixture
def canaried(release: Release) -> Iterator[Release]:
    """The release with artifact `b` as its candidate, for no keys yet."""
    before = release.revision()
    release.upgrade(*release.files("b"), "--set", "variants.candidate.artifact=b,variants.candidate.weight=0")
    release.ready()
    yield release
    release.helm("rollback", str(before))
    release.ready()


def weigh(release: Release, weight: int) -> float:
    """Give the candidate a share; the seconds until every pod follows."""
    began = time.monotonic()
    release.upgrade("--set", f"variants.candidate.weight={weight}")
    eventually(lambda: release.shares() == {weight}, f"every pod gives the candidate {weight}", FOLLOW_SECONDS)
    return time.monotonic() - began


def as_the_hash_says(release: Release, report: Report, weights: set[int]) -> bool:
    """Whether every call's variant and artifact are those of its key under one of the weights."""
    routings = [Routing(candidate_bps=weight) for weight in weights]
    served = {"stable": release.digest("a"), "candidate": release.digest("b")}
    return all(
        served[call.variant] == call.digest
        and (call.variant == "candidate") in {routing.picks_candidate(call.key) for routing in routings}
        for call in report.calls
    )


def test_a_canary_up_and_down_restarts_nothing(canaried: Release, figures: Figures) -> None:
    release = canaried
    pods, restarts = release.pods(), release.restarts()
    questions = ["When did the Great Gale strike?", "How many skerries belong to the Merrin Isles?"]
    plan = {"target": release.target, "questions": questions, "key": "user-{caller}-{number}"}
    load = release.callers.start("canary", callers=10, pause_seconds=0.1, **plan).running()
    moments, seconds = [time.time()], []
    for number, weight in enumerate(STEPS):
        if number:
            seconds.append(weigh(release, weight))
        moments.append(time.time())
        report = release.callers.start(f"keys-{len(moments)}", callers=10, calls=30, **plan).report()
        assert not report.failed, report
        assert as_the_hash_says(release, report, {weight})
        assert len(report.calls) == 300
    throughout = load.stop()
    assert not throughout.failed, throughout
    for before, weight, since, until in zip((0, *STEPS), STEPS, moments, moments[1:], strict=False):
        assert as_the_hash_says(release, throughout.within(since, until), {before, weight})
    figures["canary: helm upgrade to all pods at the new share, s"] = max(seconds)
    assert throughout.count("variant").keys() == {"stable", "candidate"}
    assert release.pods() == pods
    assert release.restarts() == restarts
