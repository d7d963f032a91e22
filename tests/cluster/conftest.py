# SPDX-License-Identifier: Apache-2.0
"""A real cluster for the session: one that is given, or the one of this machine, started here and taken down again.

Given means KUBECONFIG and SLIPWAY_TEST_IMAGE, an image that its nodes have; SLIPWAY_TEST_STORAGE_CLASS names a class
whose volumes several nodes can mount. The cluster of this machine may be given, too: that spares its start.
Where there is none and none can be started, everything here skips and says why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from functools import partial

import pytest
from charts import ROOT, missing
from cluster_install import Install, installed
from cluster_release import Cluster, Figures, Release
from kube import Kubectl, Local, Refused, account, run

IMAGE = ROOT / "scripts/image"
KEPT = ROOT / ".slipway/cluster-figures.json"
FIGURES = pytest.StashKey[Figures]()
NODES = "2"
BUILD_SECONDS = 1800


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """How to reach the cluster."""
    if missing():
        pytest.skip(f"{', '.join(missing())} not built: make chart-tools")
    machine = Local({**os.environ, "VOLUMES": "glusterfs", "CLUSTER_OWNER": str(os.getpid())})
    given = os.environ.get("SLIPWAY_TEST_IMAGE", "")
    if given and "KUBECONFIG" in os.environ:
        ours = os.environ["KUBECONFIG"] == machine.environ["KUBECONFIG"]
        storage_class = os.environ.get("SLIPWAY_TEST_STORAGE_CLASS", "")
        yield Cluster(Kubectl(os.environ), given, machine if ours else None, storage_class)
        return
    try:
        image, archive = run(str(IMAGE), "serve", environ=os.environ, seconds=BUILD_SECONDS).split()
        machine("up", NODES)
    except Refused as reason:
        pytest.skip(str(reason).strip().splitlines()[-1])
    try:
        machine("load", archive)
        yield Cluster(Kubectl(machine.environ), image, machine)
    finally:
        machine("down")


@pytest.fixture(scope="session")
def local(cluster: Cluster) -> Local:
    """The cluster's own machine."""
    if cluster.local is None:
        pytest.skip("a cluster that was given: its nodes are not ours to cut off")
    return cluster.local


@pytest.fixture(scope="session")
def full_image(local: Local) -> str:
    """The image that compiles, too, on every node."""
    image, archive = run(str(IMAGE), "full", environ=local.environ, seconds=BUILD_SECONDS).split()
    local("load", archive)
    return image


@pytest.fixture(scope="session")
def install(cluster: Cluster) -> Install:
    """`with install("nodes", replicas=3, …) as release`: see cluster_install.installed."""
    return partial(installed, cluster)


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """For what a test measures: printed when all are done, and kept in .slipway/cluster-figures.json."""
    return request.config.stash.setdefault(FIGURES, {})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report has what its namespace looked like just then."""
    report = yield
    release = item.funcargs.get("release") or getattr(item.funcargs.get("desk"), "release", None)
    if report.failed and release is not None:
        report.sections.append((f"namespace {release.namespace}", account(release.kubectl)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    measured = config.stash.get(FIGURES, {})
    for name in sorted(measured):
        terminalreporter.write_line(f"{measured[name]:10.2f}  {name}")
    if measured:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n", "utf-8")


@pytest.fixture(scope="session")
def release(install: Install) -> Iterator[Release]:
    """Three pods over both nodes, for tests that leave it as they found it: artifact `a`, no candidate."""
    values = {"config": {"SLIPWAY_CACHE_TIMEOUT_SECONDS": 5}}  # two cores carry all of it
    with install("common", replicas=3, provider={"rpm": 6000, "latency_seconds": 0.2}, values=values) as release:
        yield release
