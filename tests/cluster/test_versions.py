# SPDX-License-Identifier: Apache-2.0
"""From an earlier version of the chart to this one and back, under load; and what an uninstalled release leaves.

With both majors of Helm: 4 applies on the server's side, 3 patches.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from charts import HELMS, ROOT
from cluster_install import Install
from cluster_release import NAME, RELEASE, Cluster, Release
from kube import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

CLAIM = f"{NAME}-data"
PREVIOUS = ROOT / "tests/chart/fixtures/slipway-0.1.0.tgz"
CALLERS = 10
KINDS = (
    "deployments,replicasets,pods,services,endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings,"
    "cronjobs,jobs,poddisruptionbudgets,horizontalpodautoscalers,networkpolicies,persistentvolumeclaims"
)


@pytest.fixture(scope="module", params=HELMS)
def release(request: pytest.FixtureRequest, cluster: Cluster, install: Install) -> Iterator[Release]:
    """The earlier chart, with a claim of its own; on this machine's cluster only the volume made here fits it."""
    space = f"versions-{request.param}"
    own = f"{space}-own"
    storage_class = cluster.storage_class or own
    if cluster.local:
        spec = {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": storage_class,
            "hostPath": {"path": cluster.local.volume(own)},
        }
        cluster.kubectl("delete", "persistentvolume", own, "--ignore-not-found")
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": own}, "spec": spec}
        cluster.kubectl.apply(volume)
    values = {
        "volume": {"mode": "claim", "existingClaim": "", "storageClass": storage_class, "size": "1Gi"},
        "cacheGc": {"enabled": True},
    }
    earlier = {"chart": PREVIOUS, "tool": request.param}
    with install(space, replicas=2, provider={"latency_seconds": 0.1}, values=values, **earlier) as release:
        yield release
    cluster.kubectl("delete", "persistentvolume", own, "--ignore-not-found", "--wait=false")


def chart_of(release: Release) -> str:
    """The chart's version, as its label has it."""
    return str(release.deployment()["metadata"]["labels"]["helm.sh/chart"])


def test_upgrade_and_rollback_of_the_chart_lose_nothing_and_restart_nothing(release: Release) -> None:
    pods, first = release.pods(), release.revision()
    assert chart_of(release) == PREVIOUS.stem
    load = release.callers.start("load", target=release.target, callers=CALLERS).running()
    release.upgrade("--wait")
    upgraded = chart_of(release)
    assert upgraded != PREVIOUS.stem
    assert release.pods() == pods, "a new chart alone restarts no pod"
    release.helm("rollback", str(first), "--wait")
    assert chart_of(release) == PREVIOUS.stem
    assert release.pods() == pods
    release.upgrade("--wait", *release.files("b"), "--set", "variants.stable.artifact=b")
    release.ready()
    assert chart_of(release) == upgraded
    report = load.stop()
    assert not report.failed, report
    assert set(report.count("digest")) == {release.digest("a"), release.digest("b")}


def test_an_uninstalled_release_leaves_its_claim(release: Release) -> None:
    release.helm("uninstall", "--wait")

    def left() -> set[str]:
        mine = f"--selector=app.kubernetes.io/instance={RELEASE}"
        return set(release.kubectl("get", KINDS, mine, "--output=name").split())

    eventually(lambda: left() == {f"persistentvolumeclaim/{CLAIM}"}, "only the claim is left")
    claim = release.kubectl.json("get", "persistentvolumeclaim", CLAIM)
    assert claim["status"]["phase"] == "Bound"
