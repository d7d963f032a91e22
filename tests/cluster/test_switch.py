# SPDX-License-Identifier: Apache-2.0
"""Artifact A → B by `helm upgrade`, and back by `helm rollback`, under 50 callers who ask and ask again.

Forty callers ask what has been asked before, ten ask what nobody has: these wait for the LM each time.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import pytest
from cluster_load import Report
from cluster_release import Figures, Release
from kube import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LM_SECONDS = 1.0
SOME, MANY = 60, 150
"""Questions nobody has asked, in the parts of the run; many where percentiles are taken."""
MORE_AT_MOST = 1.5
START_CPU_SECONDS = 5.0
QUESTIONS = [
    json.loads(line)["question"]
    for line in resources.files("slipway_server.demo").joinpath("train.jsonl").read_text("utf-8").splitlines()
]


@dataclass(frozen=True)
class Trip:
    """What callers saw on the way from A to B and back. A phase is [start, end), in seconds since the epoch."""

    a: str
    b: str
    repeated: Report
    """Of those who ask what has been asked before."""
    new: Report
    """Of those who ask what nobody has."""
    steady: tuple[float, float]
    rollout: tuple[float, float]
    """From `helm upgrade` until the last old pod is gone."""
    on_b: tuple[float, float]
    back: tuple[float, float]
    """From `helm rollback` on."""
    returned: float
    """When the last pod of B was gone."""


@pytest.fixture(scope="module")
def release(release: Release) -> Iterator[Release]:
    """The common release, its LM as slow as an LM."""
    release.provider.configure(latency_seconds=LM_SECONDS)
    yield release
    release.provider.configure(latency_seconds=0.2)


@pytest.fixture(scope="module")
def trip(release: Release) -> Trip:
    """From A to B and back, with callers all the way."""
    near = {"target": release.target, "node": release.near}
    again = release.callers.start("again", callers=40, pause_seconds=0.5, questions=QUESTIONS, **near).running()
    fresh = release.callers.start("fresh", callers=10, questions=["Who left {caller}-{number}?"], **near).running()
    asked(release, SOME)
    first = release.revision()
    warm = time.time()
    asked(release, MANY)

    upgraded = time.time()
    release.upgrade(*release.files("b"), "--set", "variants.stable.artifact=b")
    release.ready()
    on_b = time.time()
    asked(release, SOME)

    before_back = time.time()
    release.helm("rollback", str(first))
    release.ready()
    returned = time.time()
    asked(release, SOME)
    repeated, new = again.stop(), fresh.stop()
    return Trip(
        release.digest("a"),
        release.digest("b"),
        repeated,
        new,
        steady=(warm, upgraded),
        rollout=(upgraded, on_b),
        on_b=(on_b, before_back),
        back=(before_back, math.inf),
        returned=returned,
    )


def asked(release: Release, more: int) -> None:
    """Wait until the provider has had so many requests more."""
    before = release.provider.summary()["requests"]
    eventually(lambda: release.provider.summary()["requests"] >= before + more, f"{more} more questions")


def test_a_switch_and_the_way_back_fail_nobody(trip: Trip, figures: Figures) -> None:
    for report in (trip.repeated, trip.new):
        assert not report.failed, report
        assert report.count("digest").keys() == {trip.a, trip.b}
        assert report.within(*trip.on_b).count("digest").keys() == {trip.b}
        assert report.within(trip.returned, math.inf).count("digest").keys() == {trip.a}
    start, end = trip.rollout
    last_a = max(call.started for call in trip.new.within(start, trip.back[0]).calls if call.digest == trip.a)
    last_b = max(call.started for call in trip.new.within(*trip.back).calls if call.digest == trip.b)
    figures |= {
        "switch A -> B: helm upgrade to the last call that A takes, s": last_a - start,
        "switch A -> B: helm upgrade to the last old pod gone, s": end - start,
        "helm rollback to the last call that B takes, s": last_b - trip.back[0],
        "calls in the run": len(trip.repeated.calls) + len(trip.new.calls),
    }


def test_no_answer_is_of_both_artifacts(trip: Trip) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for call in trip.repeated.calls:
        found.setdefault((call.digest, call.question), set()).add(call.answer)
    assert all(len(texts) == 1 for texts in found.values()), "an answer of neither artifact alone"
    both = [question for question in QUESTIONS if {(trip.a, question), (trip.b, question)} <= found.keys()]
    assert sum(found[trip.a, question] != found[trip.b, question] for question in both) > len(QUESTIONS) / 2


def test_after_the_way_back_the_old_answers_come_from_the_cache(trip: Trip, figures: Figures) -> None:
    returned = [call for call in trip.repeated.within(*trip.back).calls if call.digest == trip.a]
    assert returned
    upstream = sum(call.attempts for call in returned)
    assert upstream <= len(returned) / 100, "the old answers are not in the cache any more"
    figures["helm rollback: calls to the LM for what had been asked before"] = upstream


def test_callers_hardly_feel_the_rollout(trip: Trip, figures: Figures) -> None:
    """Half of the calls, which the LM's time rules, whatever else the machine does; the 99th percentile is stated."""
    for what, report in {"calls that wait 1 s for the LM": trip.new, "repeated calls": trip.repeated}.items():
        for when, phase in {"steady": trip.steady, "during the rollout": trip.rollout}.items():
            figures[f"p99 of {what}: {when}, s"] = report.within(*phase).percentile_seconds(0.99)
    steady, during = (trip.new.within(*phase).percentile_seconds(0.5) for phase in (trip.steady, trip.rollout))
    assert during <= MORE_AT_MOST * steady


def test_a_pod_is_ready_soon_after_its_start(release: Release, figures: Figures) -> None:
    pods = release.pods()
    release.kubectl("delete", "pod", next(iter(pods)), "--wait=false")
    eventually(lambda: len(release.pods().keys() - pods.keys()) == 1, "another pod is ready")
    (name,) = release.pods().keys() - pods.keys()
    worked = release.cpu_seconds(name)
    release.ready()
    figures["one pod: container start to Ready, in whole seconds"] = release.seconds_to_ready(name)
    figures["one pod: CPU from start to Ready, s"] = worked
    assert worked <= START_CPU_SECONDS, "what a start takes where nothing else runs, whatever runs here"
    assert release.restarts()[name] == 0
