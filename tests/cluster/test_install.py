# SPDX-License-Identifier: Apache-2.0
"""docs/operations.md from an empty cluster to a canary and back: every command is run as it stands there, in order.

Only these differ: image, endpoint and resources in the values, and who provides the storage class.
"""

from __future__ import annotations

import re
import shlex
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from charts import ROOT, TOOLS
from cluster_load import Callers
from cluster_provider import ClusterProvider
from cluster_release import SMALL, Cluster, Figures, Release, merged
from kube import Refused, eventually, run

from slipway_server.artifacts import manifest_path

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
NAMESPACE = "search"
PROVIDER = "search-provider"
CLASS = "shared"
QUESTION = "When did the Great Gale strike?"


def commands(heading: str) -> list[str]:
    """The commands of a section, in order."""
    section = re.search(rf"^## {heading}\n(.+?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, heading
    blocks = re.findall(r"^ *```bash\n(.+?)^ *```$", section[1], re.MULTILINE | re.DOTALL)
    lines = "\n".join(map(textwrap.dedent, blocks)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


class Desk:
    """A shipper's folder and shell."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.release = Release(cluster, NAMESPACE, folder, {})
        self.callers: Callers
        tools = folder / "bin"
        tools.mkdir()
        (tools / "helm").symlink_to(TOOLS / "helm4")
        (folder / "deploy").symlink_to(ROOT / "deploy")
        inherited = {key: value for key, value in cluster.kubectl.environ.items() if not key.startswith("SLIPWAY_")}
        path = f"{tools}:{Path(sys.executable).parent}:{inherited['PATH']}"
        self._environ = inherited | {"PATH": path, "HOME": str(folder), "NO_COLOR": "1"}

    def type(self, command: str) -> str:
        """Run a command of the page, in the folder. Raises Refused."""
        return run("bash", "-euc", f"cd {shlex.quote(str(self.folder))}; {command}", environ=self._environ, seconds=600)

    def put_files(self, endpoint: str) -> None:
        """The files that the page speaks of."""
        for number, name in enumerate("ab", 1):
            given = self.release.artifact(name)
            target = self.folder / f"artifacts/guide-{number}.json"
            target.parent.mkdir(exist_ok=True)
            given.rename(target)
            manifest_path(given).rename(manifest_path(target))
        (self.folder / "openai.key").write_text("sk-test", "utf-8")
        corpus = ROOT / "server/src/slipway_server/demo/corpus.jsonl"
        (self.folder / "corpus.jsonl").write_bytes(corpus.read_bytes())
        [text] = re.findall(r"^ *```yaml\n( *# my-values.yaml\n.+?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
        repository, _, tag = self.cluster.image.rpartition(":")
        here = {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "lm": {"endpoint": endpoint},
            "serving": {"resources": SMALL},
            "verifyHook": {"resources": SMALL},
            "ingest": {"resources": SMALL},
        }
        values = merged(yaml.safe_load(textwrap.dedent(text)), here)
        (self.folder / "my-values.yaml").write_text(yaml.safe_dump(values), "utf-8")

    def served(self, name: str) -> set[str]:
        """The artifacts that answer two hundred users, by the names of their files. All are answered."""
        plan = {"target": self.release.target, "callers": 10, "calls": 20, "key": "user-{caller}-{number}"}
        report = self.callers.start(name, questions=[QUESTION], **plan).report()
        assert not report.failed, report
        names = {self.release.digest("a"): "guide-1", self.release.digest("b"): "guide-2"}
        return {names[digest] for digest in report.count("digest")}

    def left(self) -> set[str]:
        """Objects of the release that are in the namespace, by kind and name."""
        kinds = "all,configmap,secret,persistentvolumeclaim,serviceaccount,poddisruptionbudget,role,rolebinding"
        found = self.release.kubectl("get", kinds, "--selector=app.kubernetes.io/part-of=slipway", "--output=name")
        return set(found.split())


@pytest.fixture
def desk(cluster: Cluster, tmp_path: Path) -> Iterator[Desk]:
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
    desk = Desk(cluster, tmp_path)
    desk.put_files(provider.endpoint)
    yield desk
    for kind, name in names:
        kubectl("delete", kind, name, "--ignore-not-found", "--wait=false")


def test_the_page_from_an_empty_cluster_to_a_canary_and_back(desk: Desk, figures: Figures) -> None:
    release = desk.release
    for command in commands("Before the first release"):
        desk.type(command)
    refuses_what_is_not_restricted(desk)

    began = time.monotonic()
    for command in commands("Install"):
        printed = desk.type(command)
    figures["install (hook, ingest job, pods, helm test) to the first answer, s"] = time.monotonic() - began
    assert "Phase:          Succeeded" in printed
    assert f"artifact {release.digest('a')}" in printed

    desk.callers = Callers(release.kubectl, NAMESPACE, desk.cluster.image)
    assert desk.served("installed") == {"guide-1"}
    switch(desk)
    pods = release.pods()
    desk.type("helm uninstall answers -n search")
    eventually(lambda: not release.pod_objects(), f"{sorted(pods)} are gone")
    assert desk.left() == {"persistentvolumeclaim/answers-slipway-data"}


def refuses_what_is_not_restricted(desk: Desk) -> None:
    """The namespace really enforces the standard that the release's pods will meet."""
    with pytest.raises(Refused, match="violates PodSecurity"):
        desk.release.kubectl("run", "loose", f"--image={desk.cluster.image}", "--image-pull-policy=Never")


def switch(desk: Desk) -> None:
    """The commands of the section, each followed by a look at who answers."""
    release = desk.release
    expected = [
        ("candidate.weight=1000", 1000, {"guide-1", "guide-2"}),
        ("candidate.weight=5000", 5000, {"guide-1", "guide-2"}),
        ("stable.artifact=v2", 0, {"guide-2"}),
        ("helm rollback", 5000, {"guide-1", "guide-2"}),
        ("release ship", 1000, {"guide-1", "guide-2"}),
        ("release promote .*--percent 50", 5000, {"guide-1", "guide-2"}),
        ("release promote ", 0, {"guide-2"}),
        ("release rollback", 0, {"guide-1"}),
    ]
    *steps, prune = commands("Switch, canary, roll back")
    assert len(steps) == len(expected)
    candidate, _, everything = steps[:3]
    for number, (command, (meant, weight, answering)) in enumerate(zip(steps, expected, strict=True)):
        assert re.search(meant, command), command
        pods = release.pods()
        desk.type(command)
        release.ready()
        if "weight=5000" in command:
            assert release.pods() == pods
        what = f"every pod gives the candidate {weight} after {command}"
        eventually(lambda weight=weight: release.shares() == {weight}, what)
        assert desk.served(f"step-{number}") == answering, command
    for command in (candidate, everything):  # the rollback took the new artifact away
        desk.type(command)
    release.ready()
    desk.type(prune)
    assert desk.served("pruned") == {"guide-2"}
    assert len([name for name in desk.left() if "-artifact-" in name]) == 1
