# SPDX-License-Identifier: Apache-2.0
"""docs/operations.md from an empty cluster to a canary and back: every command is run as it stands there, in order.

Only these differ: image, endpoint and resources in the values, and who provides the storage class.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import yaml
from cluster_desk import Desk, page_values
from cluster_load import Callers
from cluster_provider import ClusterProvider
from cluster_release import SMALL, Cluster, Figures, Release, merged
from kube import Refused, eventually

from slipway_server.artifacts import manifest_path

WALK_SECONDS = 1500
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(WALK_SECONDS)]

NAMESPACE = "search"
PROVIDER = "search-provider"
CLASS = "shared"
QUESTION = "When did the Great Gale strike?"
ASKED = 5
"""Questions that the cache is warmed with."""
FOLLOW_SECONDS = 90
CALLS = 200
"""Of as many users: so many show both artifacts, where both have a share."""
SWITCH, CHECKED = "Switch, canary, roll back", "The same, checked before"
PRUNE = "artifacts.v1=null"
STEPS = (
    (SWITCH, "candidate.weight=1000", 1000, {"guide-1", "guide-2"}),
    (SWITCH, "candidate.weight=5000", 5000, {"guide-1", "guide-2"}),
    (SWITCH, "stable.artifact=v2", 0, {"guide-2"}),
    (SWITCH, "helm rollback", 5000, {"guide-1", "guide-2"}),
    (CHECKED, "release ship", 1000, {"guide-1", "guide-2"}),
    (CHECKED, "--percent 50", 5000, {"guide-1", "guide-2"}),
    ("SlipwayCandidateRemoved", "release rollback", 0, {"guide-1"}),
    (CHECKED, "release promote", 0, {"guide-2"}),
    ("Old artifacts", PRUNE, 0, {"guide-2"}),
    (CHECKED, "release rollback", 0, {"guide-1"}),
)
"""Section, command, the candidate's share after it in basis points, and who answers then."""
RESTART_NOTHING = {"candidate.weight=5000", "--percent 50", "SlipwayCandidateRemoved", PRUNE}
"""Sections and commands."""


class Shipper(Desk):
    """A desk with the files that the page speaks of, and the release that becomes of them."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(cluster.kubectl, folder, __file__)
        self.cluster = cluster
        self.release = Release(cluster, NAMESPACE, folder, {})

    def put_files(self, endpoint: str) -> None:
        """The files that the page speaks of."""
        for number, name in enumerate("ab", 1):
            given = self.release.artifact(name)
            target = self.folder / f"artifacts/guide-{number}.json"
            target.parent.mkdir(exist_ok=True)
            given.rename(target)
            manifest_path(given).rename(manifest_path(target))
        (self.folder / "openai.key").write_text("sk-test", "utf-8")
        demo = resources.files("slipway_server.demo")
        (self.folder / "corpus.jsonl").write_bytes(demo.joinpath("corpus.jsonl").read_bytes())
        asked = demo.joinpath("train.jsonl").read_bytes().splitlines(keepends=True)[:ASKED]
        (self.folder / "questions.jsonl").write_bytes(b"".join(asked))
        repository, _, tag = self.cluster.image.rpartition(":")
        here = {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "lm": {"endpoint": endpoint},
            "serving": {"resources": SMALL},
            "verifyHook": {"resources": SMALL},
            "ingest": {"resources": SMALL},
            "cacheGc": {"resources": SMALL},
        }
        values = merged(page_values("my-values.yaml"), here)
        (self.folder / "my-values.yaml").write_text(yaml.safe_dump(values), "utf-8")

    def answered(self) -> float:
        """Calls that the pods of now have answered."""
        return sum(self.release.answered(pod) for pod in self.release.pods())

    def left(self) -> set[str]:
        """Objects of the release that are in the namespace, by kind and name."""
        kinds = "all,configmap,secret,persistentvolumeclaim,serviceaccount,poddisruptionbudget,role,rolebinding"
        found = self.release.kubectl("get", kinds, "--selector=app.kubernetes.io/part-of=slipway", "--output=name")
        return set(found.split())


@pytest.fixture
def desk(cluster: Cluster, tmp_path: Path) -> Iterator[Shipper]:
    """A desk, a cluster without the namespace, a storage class as the page's values name it, and a provider."""
    kubectl = cluster.kubectl
    if cluster.local is None:
        pytest.skip("the storage class that the page names is made on the cluster of this machine only")
    names = ("namespace", NAMESPACE), ("namespace", PROVIDER), ("persistentvolume", NAMESPACE), ("storageclass", CLASS)
    for kind, name in names:
        kubectl("delete", kind, name, "--ignore-not-found")
    spec = {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": "10Gi"},
        "storageClassName": CLASS,
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": cluster.local.volume(f"{NAMESPACE}-{time.time():.0f}")},
    }
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROVIDER}},
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": NAMESPACE}, "spec": spec},
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS},
            "provisioner": "kubernetes.io/no-provisioner",
        },
    )
    provider = ClusterProvider(kubectl.within(PROVIDER), PROVIDER, cluster.image, rpm=500, tpm=200000)
    desk = Shipper(cluster, tmp_path)
    desk.put_files(provider.endpoint)
    yield desk
    for kind, name in names:
        kubectl("delete", kind, name, "--ignore-not-found", "--wait=false")


def test_the_page_from_an_empty_cluster_to_a_canary_and_back(desk: Shipper, figures: Figures) -> None:
    release = desk.release
    for meant in ("create namespace", "label namespace", "create secret"):
        desk.type("Before the first release", meant)
    refuses_what_is_not_restricted(desk)

    began = time.monotonic()
    for meant in ("create configmap", "helm upgrade --install", "create job", "rollout status", "helm test"):
        printed = desk.type("Install", meant)
    figures["install (hook, ingest job, pods, helm test) to the first answer, s"] = time.monotonic() - began
    assert "Phase:          Succeeded" in printed
    assert f"artifact {release.digest('a')}" in printed

    switch(desk)
    runbook(desk)
    pods = release.pods()
    desk.type("Uninstall", "helm uninstall")
    eventually(lambda: not release.pod_objects(), f"{sorted(pods)} are gone")
    assert desk.left() == {"persistentvolumeclaim/answers-slipway-data"}
    desk.finished()


def refuses_what_is_not_restricted(desk: Shipper) -> None:
    """The namespace really enforces the standard that the release's pods will meet."""
    with pytest.raises(Refused, match="violates PodSecurity"):
        desk.release.kubectl("run", "loose", f"--image={desk.cluster.image}", "--image-pull-policy=Never")


def switch(desk: Shipper) -> None:
    """From one artifact to the other and back, under callers who lose nothing; who answers after each command."""
    release = desk.release
    names = {release.digest("a"): "guide-1", release.digest("b"): "guide-2"}
    crowd = Callers(release.kubectl, NAMESPACE, desk.cluster.image)
    plan = {"callers": 10, "pause_seconds": 0.2, "questions": [QUESTION], "key": "user-{caller}-{number}"}
    load = crowd.start("load", target=release.target, seconds=WALK_SECONDS, **plan).running()
    seen = []
    for heading, meant, weight, answering in STEPS:
        pods = release.pods()
        desk.type(heading, meant)
        release.ready()
        if {heading, meant} & RESTART_NOTHING:
            assert release.pods() == pods
        what = f"every pod gives the candidate {weight} after {meant}"
        eventually(lambda weight=weight: release.shares() == {weight}, what, FOLLOW_SECONDS)
        if meant == PRUNE:
            assert len([name for name in desk.left() if "-artifact-" in name]) == 1
        began, before = time.time(), desk.answered()
        eventually(lambda before=before: desk.answered() >= before + CALLS, f"calls after {meant}")
        seen.append((meant, began, time.time(), answering))
    report = load.stop()
    assert not report.failed, report
    for meant, start, end, answering in seen:
        assert {names[digest] for digest in report.within(start, end).count("digest")} == answering, meant


def runbook(desk: Shipper) -> None:
    """What the alerts' sections have typed."""
    release = desk.release
    pods = release.pods()
    assert set(pods) < set(desk.type("SlipwayAbsent", "get pods").split())
    assert "2 available" in desk.type("SlipwayAbsent", "describe")
    assert '"level"' in desk.type("SlipwayAbsent", "logs")

    assert "entries" in desk.type("SlipwayVolumeHangs", "cache stats")
    assert "/var/lib/slipway" in desk.type("SlipwayVolumeFull", "df -h")
    desk.type("SlipwayVolumeFull", "cacheGc.maxBytes=4G")
    desk.type("SlipwayVolumeFull", "create job")
    release.kubectl("wait", "job/clean-now", "--for=condition=Complete", "--timeout=120s")
    *_, newest = desk.type("SlipwayJobFailed", "get jobs").splitlines()
    assert newest.startswith("clean-now ")
    assert json.loads(desk.type("SlipwayJobFailed", "logs"))["removed"] == 0

    assert f"{ASKED} miss" in desk.type("SlipwayQuotaShort", "cache warm")
    assert release.pods() == pods, "nothing so far restarts a pod"
    desk.type("SlipwayQuotaShort", "lm.rpm=1000")
    [container] = release.deployment()["spec"]["template"]["spec"]["containers"]
    assert {"name": "SLIPWAY_LM_RPM", "value": "1000"} in container["env"]
