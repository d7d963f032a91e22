# SPDX-License-Identifier: Apache-2.0
"""The shared volume full, its server gone, and cut off for one node: every request is answered, and metrics say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from cluster_install import Install
from cluster_load import Run
from cluster_release import Figures, Release
from kube import Local, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

CALLERS = 12
MORE = 20
FILLER = "/var/lib/slipway/filler"
WRITES, MISSES, HANGS = "slipway_cache_writes_total", "slipway_cache_misses_total", "slipway_cache_breaker_open"


@pytest.fixture(scope="module")
def release(install: Install) -> Iterator[Release]:
    # Callers that connected before the last pod was known find it when they connect anew, which they do at this age.
    serving = {"connectionAgeSeconds": 20}
    values = {"traffic": {"enabled": True, "sample": 1.0, "fields": "*"}, "serving": serving}
    with install("volume", replicas=3, provider={"rpm": 6000, "latency_seconds": 0.2}, values=values) as release:
        yield release


def started(release: Release, name: str) -> Run:
    questions = [f"Who founded {name} {{caller}}-{{number}}?"]  # new ones: each is looked up, asked and stored
    plan = {"target": release.target, "node": release.near, "callers": CALLERS, "pause_seconds": 0.2}
    return release.callers.start(name, questions=questions, **plan).running()


def grow(release: Release, pods: Iterable[str], metric: str, *labels: str) -> None:
    """Wait until a counter has grown in each of these pods."""
    before = {pod: release.metrics(pod).get((metric, labels), 0) for pod in pods}
    eventually(
        lambda: all(release.metrics(pod).get((metric, labels), 0) >= value + MORE for pod, value in before.items()),
        f"{metric} {labels} grows in {list(before)}",
    )


def are(release: Release, pods: Iterable[str], gauge: str, value: float) -> None:
    """Wait until a gauge has a value in each of these pods."""
    eventually(lambda: all(release.metrics(pod)[gauge, ()] == value for pod in pods), f"{gauge} is {value:g}")


def nothing_failed(load: Run, what: str, figures: Figures) -> None:
    report = load.stop()
    assert not report.failed, report
    figures[f"{what}: RPCs, none failed"] = len(report.calls)
    figures[f"{what}: longest RPC, with an LM of 0.2 s (s)"] = max(call.seconds for call in report.calls)


@contextmanager
def filled(release: Release) -> Iterator[None]:
    """The volume without a free block."""
    shell = ("exec", f"deployment/{release.name}", "--", "sh", "-c")
    try:
        told = release.kubectl(*shell, f"dd if=/dev/zero of={FILLER} bs=1M count=65536 2>&1; true")
        assert "No space left on device" in told
        yield
    finally:
        release.kubectl(*shell, f"rm -f {FILLER}")


def test_a_full_volume(release: Release, local: Local, figures: Figures) -> None:
    pods = release.pods()
    load = started(release, "full")
    with filled(release):
        grow(release, pods, WRITES, "full")
    grow(release, pods, WRITES, "written")
    nothing_failed(load, "volume full", figures)
    assert all(release.metrics(pod).get(("slipway_traffic_records_total", ("lost_volume",)), 0) for pod in pods)


def test_its_server_stopped(release: Release, local: Local, figures: Figures) -> None:
    pods = release.pods()
    load = started(release, "stopped")
    with local.volume_stopped():
        grow(release, pods, MISSES, "io")
    grow(release, pods, WRITES, "written")
    nothing_failed(load, "volume's server stopped", figures)


def test_it_is_cut_off_for_one_node(release: Release, local: Local, figures: Figures) -> None:
    places = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in release.pod_objects()}
    far = next(node for node in sorted(set(places.values())) if node != release.near)
    hidden = [pod for pod, node in places.items() if node == far]
    load = started(release, "cut")
    with local.volume_cut(far):
        are(release, hidden, HANGS, 1)
        grow(release, hidden, MISSES, "refused")  # the volume is left alone: no call waits for it any more
        grow(release, places.keys() - hidden, WRITES, "written")
    are(release, places, HANGS, 0)
    grow(release, places, WRITES, "written")
    nothing_failed(load, "volume cut off for one node", figures)
