# SPDX-License-Identifier: Apache-2.0
"""Artifact A → B by `helm upgrade`, and back by `helm rollback`, under 50 callers who ask and ask again.

Forty callers ask what has been asked before, ten ask what nobody has: these wait for the LM each time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib import resources

import pytest
from cluster_load import Report, Run
from cluster_release import Figures, Release
from kube import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LM_SECONDS = 1.0
EACH = 150
"""Questions nobody has asked, in each part of the run."""
QUESTIONS = [
    json.loads(line)["question"]
    for line in resources.files("slipway_server.demo").joinpath("train.jsonl").read_text("utf-8").splitlines()
]


@pytest.fixture
def release(release: Release) -> Iterator[Release]:
    """The common release, its LM as slow as an LM."""
    release.provider.configure(latency_seconds=LM_SECONDS)
    yield release
    release.provider.configure(latency_seconds=0.2)


def asked(release: Release, more: int) -> None:
    """Wait until the provider has had so many requests more."""
    before = release.provider.summary()["requests"]
    eventually(lambda: release.provider.summary()["requests"] >= before + more, f"{more} more questions")


def answers(report: Report) -> dict[tuple[str, str], set[str]]:
    """What was answered, by artifact and question."""
    found: dict[tuple[str, str], set[str]] = {}
    for call in report.calls:
        found.setdefault((call.digest, call.question), set()).add(call.answer)
    return found


def test_a_switch_and_the_way_back_fail_nobody(release: Release, figures: Figures) -> None:
    a, b = release.digest("a"), release.digest("b")
    again: Run = release.callers.start(
        "again", target=release.target, callers=40, pause_seconds=0.5, questions=QUESTIONS, node=release.near
    ).running()
    fresh: Run = release.callers.start(
        "fresh", target=release.target, callers=10, questions=["Who left {caller}-{number}?"], node=release.near
    ).running()
    asked(release, EACH)
    first = release.revision()
    warm = time.time()
    asked(release, EACH)

    upgraded = time.time()
    release.upgrade(*release.files("b"), "--set", "variants.stable.artifact=b")
    release.ready()
    on_b = time.time()
    asked(release, EACH)

    before_back = time.time()
    release.helm("rollback", str(first))
    release.ready()
    back = time.time()
    asked(release, EACH)
    repeated, new = again.stop(), fresh.stop()

    for report in (repeated, new):
        assert not report.failed, report
        assert report.count("digest").keys() == {a, b}
        assert report.within(on_b, before_back).count("digest").keys() == {b}
        assert report.within(back, back + 3600).count("digest").keys() == {a}
    found = answers(repeated)
    assert all(len(texts) == 1 for texts in found.values()), "an answer of neither artifact alone"
    both = [question for question in QUESTIONS if {(a, question), (b, question)} <= found.keys()]
    assert sum(found[a, question] != found[b, question] for question in both) > len(QUESTIONS) / 2
    returned = [call for call in repeated.within(before_back, back + 3600).calls if call.digest == a]
    assert returned
    upstream = sum(call.attempts for call in returned)
    assert upstream <= len(returned) / 100, "the old answers are not in the cache any more"

    last_a = max(call.started for call in new.within(upgraded, before_back).calls if call.digest == a)
    last_b = max(call.started for call in new.within(before_back, back + 3600).calls if call.digest == b)
    steady = new.within(warm, upgraded).percentile_seconds(0.99)
    during = new.within(upgraded, on_b).percentile_seconds(0.99)
    figures |= {
        "switch A -> B: helm upgrade to the last call that A takes, s": last_a - upgraded,
        "switch A -> B: helm upgrade to the last old pod gone, s": on_b - upgraded,
        "helm rollback to the last call that B takes, s": last_b - before_back,
        "helm rollback: calls to the LM for what had been asked before": upstream,
        "calls in the run": len(repeated.calls) + len(new.calls),
        "p99 of calls that wait 1 s for the LM: steady, s": steady,
        "p99 of calls that wait 1 s for the LM: during the rollout, s": during,
        "p99 of repeated calls: steady, s": repeated.within(warm, upgraded).percentile_seconds(0.99),
        "p99 of repeated calls: during the rollout, s": repeated.within(upgraded, on_b).percentile_seconds(0.99),
    }


def test_a_pod_is_ready_soon_after_its_start(release: Release, figures: Figures) -> None:
    pods = release.pods()
    release.kubectl("delete", "pod", next(iter(pods)), "--wait=false")
    eventually(lambda: len(release.pods().keys() - pods.keys()) == 1, "another pod is ready")
    (name,) = release.pods().keys() - pods.keys()
    release.ready()
    figures["one pod: container start to Ready, in whole seconds"] = release.seconds_to_ready(name)
    assert release.restarts()[name] == 0
