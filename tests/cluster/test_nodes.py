# SPDX-License-Identifier: Apache-2.0
"""Pods and nodes that go under load: what callers with the client's policy see, and what it spares them.

`steady` callers use the client as it is. `bare` callers repeat nothing: they lose what is under way on a lost pod.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cluster_install import Install
from cluster_load import Report, Run
from cluster_release import Figures, Release
from kube import Local, eventually

from slipway_client._channel import KEEPALIVE_SECONDS, KEEPALIVE_TIMEOUT_SECONDS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

CALLERS = 20
LM_SECONDS = 1.0
"""Long enough for calls to be under way in every pod at any moment."""
RETRYABLE = {"UNAVAILABLE", "CANCELLED"}
NOTICED_SECONDS = KEEPALIVE_SECONDS + 2 * KEEPALIVE_TIMEOUT_SECONDS
"""After so long no connection to a node that is gone is left, not even one that was idle."""


@dataclass
class Load:
    """Callers with the client's policy, and callers without."""

    steady: Run
    bare: Run

    def stop(self) -> tuple[Report, Report]:
        return self.steady.stop(), self.bare.stop()


@pytest.fixture(scope="module")
def release(install: Install) -> Iterator[Release]:
    # Callers find pods that have come back when they connect anew, which they do at this age.
    values = {"serving": {"podLabels": {"drains": "yes"}, "connectionAgeSeconds": 20}}
    provider = {"rpm": 6000, "latency_seconds": LM_SECONDS}
    with install("nodes", replicas=3, provider=provider, values=values) as release:
        yield release


@pytest.fixture
def far(release: Release) -> str:
    """A node with pods of the release, on which neither callers nor provider nor DNS run."""
    if len(release.nodes_with_endpoints()) == 1:
        release.kubectl("rollout", "restart", f"deployment/{release.name}")  # spreads the pods anew
        release.ready()
    return next(node for node in sorted(release.nodes_with_endpoints()) if node != release.near)


def started(release: Release, name: str) -> Load:
    plan = {"target": release.target, "callers": CALLERS, "node": release.near, "deadline_seconds": 60}
    asked = [f"Who founded {name} {{caller}}-{{number}}?"]
    left = [f"Who left {name} {{caller}}-{{number}}?"]
    steady = release.callers.start(f"{name}-steady", questions=asked, **plan)
    bare = release.callers.start(f"{name}-bare", questions=left, retries=False, **plan)
    load = Load(steady.running(), bare.running())
    each_answers_again(release)  # all are known to the callers
    return load


def each_answers_again(release: Release) -> None:
    """Wait until every pod has answered some more calls."""
    for pod in release.pods():
        before = release.answered(pod)
        eventually(lambda pod=pod, before=before: release.answered(pod) >= before + CALLERS, f"{pod} gets calls")


def lost_with_a_pod(bare: Report, start: float, end: float) -> None:
    """What failed was under way between two moments, and says that it may be repeated."""
    assert bare.failed, f"nothing was under way on the lost pod: {bare}"
    assert {call.code for call in bare.failed} <= RETRYABLE, bare
    others = [call for call in bare.failed if call.ended < start or call.started > end]
    assert not others, f"between {start:.2f} and {end:.2f}, but {Report(others)}"


def test_a_drained_node_loses_nothing(release: Release, far: str, figures: Figures) -> None:
    load = started(release, "drain")
    try:
        # Only these pods: others on the node belong to other tests.
        release.kubectl("drain", far, "--pod-selector=drains=yes", "--delete-emptydir-data", "--timeout=240s")
        release.ready()
        each_answers_again(release)
        assert release.nodes_with_endpoints() == {release.near}
    finally:
        release.kubectl("uncordon", far)
    steady, bare = load.stop()
    assert not steady.failed, steady
    figures["a node is drained: RPCs, none failed"] = len(steady.calls)
    figures["a node is drained: of as many without the client's policy failed"] = len(bare.failed)


def test_a_killed_pod_loses_only_what_was_under_way_in_it(
    release: Release, local: Local, far: str, figures: Figures
) -> None:
    load = started(release, "kill")
    victim = next(pod for pod in release.pod_objects() if pod["spec"]["nodeName"] == far)
    name = victim["metadata"]["name"]
    before = release.restarts()[name]
    start = time.time()
    local.kill(far, victim["status"]["containerStatuses"][0]["containerID"])
    eventually(lambda: release.restarts()[name] > before, "the container is started again")
    end = time.time()
    release.ready()
    each_answers_again(release)
    steady, bare = load.stop()
    assert not steady.failed, steady
    lost_with_a_pod(bare, start, end)
    figures["a pod is killed with -9: RPCs, none failed"] = len(steady.calls)
    figures["a pod is killed with -9: failed without the client's policy"] = len(bare.failed)


def test_a_node_that_is_cut_off_loses_only_what_was_under_way_on_it_and_serves_again_when_healed(
    release: Release, local: Local, far: str, figures: Figures
) -> None:
    load = started(release, "cut")
    start = time.time()
    with local.cut(far):
        eventually(lambda: not release.node_ready(far), "the node is seen to be gone")
        eventually(lambda: release.nodes_with_endpoints() == {release.near}, "its pods leave the service")
        eventually(lambda: time.time() > start + NOTICED_SECONDS, "every caller has noticed")
        each_answers_again(release)
    eventually(lambda: release.node_ready(far), "the node is seen again")
    release.ready()
    eventually(lambda: far in release.nodes_with_endpoints(), "its pods are back in the service")
    each_answers_again(release)
    steady, bare = load.stop()
    assert not steady.failed, steady
    lost_with_a_pod(bare, start, start + NOTICED_SECONDS)
    figures["a node is cut off: RPCs, none failed"] = len(steady.calls)
    figures["a node is cut off: failed without the client's policy"] = len(bare.failed)
    figures["a node is cut off: longest RPC, repeats included (s)"] = max(call.seconds for call in steady.calls)
