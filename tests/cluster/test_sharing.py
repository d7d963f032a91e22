# SPDX-License-Identifier: Apache-2.0
"""The cache is one for all pods, on whichever node they run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cluster_desk import Desk
from cluster_load import joined
from cluster_release import Release
from kube import Refused

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

AHEAD_SECONDS = 20
"""Longer than pods of callers take to start, so that they begin together."""


@pytest.fixture
def release(release: Release) -> Release:
    """The common release with pods on both nodes: other tests drain one."""
    if len(set(addresses(release).values())) == 1:
        release.kubectl("rollout", "restart", "deployment", release.name)
        release.ready()
    return release


def addresses(release: Release) -> dict[str, str]:
    """Each pod's node, by the address that calls it alone."""
    return {f"{pod['status']['podIP']}:50051": pod["spec"]["nodeName"] for pod in release.pod_objects()}


def test_what_one_pod_has_answered_is_a_hit_on_the_other_node(release: Release) -> None:
    where = addresses(release)
    here, there = (next(one for one in where if where[one] == node) for node in sorted(set(where.values())))
    plan = {"callers": 1, "calls": 1, "questions": [f"What happened at {time.time()}?"]}
    release.provider.reset()
    asked = release.callers.start("first", target=here, **plan).report()
    again = release.callers.start("second", target=there, **plan).report()
    assert [call.cache for call in asked.calls] == ["miss"]
    assert [call.cache for call in again.calls] == ["disk"]
    assert asked.calls[0].answer == again.calls[0].answer
    assert asked.calls[0].server != again.calls[0].server
    assert release.provider.summary()["requests"] == 1


def test_the_same_question_to_all_pods_at_once_is_asked_once(release: Release) -> None:
    questions = [f"Which ship left at {time.time()}?"]
    release.provider.reset()
    start_at = time.time() + AHEAD_SECONDS
    runs = [
        release.callers.start(f"all-{n}", target=one, callers=7, calls=1, questions=questions, start_at=start_at)
        for n, one in enumerate(addresses(release))
    ]
    report = joined(run.report() for run in runs)
    assert not report.failed, report
    assert len(report.calls) == 21
    assert len(report.count("server")) == 3
    assert report.count("cache").keys() <= {"miss", "joined", "disk", "memory"}
    assert report.count("cache")["miss"] == 1, report.count("cache")
    assert release.provider.summary()["requests"] == 1


def test_the_doctor_finds_the_volume_good_from_two_nodes(release: Release, tmp_path: Path) -> None:
    pods = {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in release.pod_objects()}
    here = dict(zip(("pod-a", "pod-b"), pods.values(), strict=False))
    desk = Desk(release.cluster.kubectl, tmp_path, __file__, namespace=release.namespace)
    said = ""
    for say in (desk.type, desk.again, desk.again, desk.again):
        try:
            said = say("Is my volume good enough?", "cache doctor", here)
            break
        except Refused as busy:
            if "exit code 3" not in str(busy):  # 3: a busy machine did not show it; that may be asked again
                raise
    desk.finished()
    found = {line.removeprefix("ok").strip().partition(":")[0] for line in said.splitlines() if line.startswith("ok ")}
    assert {"atomic rename", "close-to-open", "exclusive create"} <= found, said
