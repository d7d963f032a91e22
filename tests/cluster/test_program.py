# SPDX-License-Identifier: Apache-2.0
"""A user's own program: in an image derived as docs/operations.md says, and for a try-out as a file in a ConfigMap."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, ROOT
from cluster_provider import ClusterProvider
from cluster_release import SMALL, Cluster, Figures, Release
from kube import run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PROGRAM = """
import dspy


class Answer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    async def aforward(self, question):
        return await self.answer.acall(question=question)


if __name__ == "__main__":
    Answer().save("answer.json")
"""
LARGEST_MB = 350
LOGS = {"helm3": (), "helm4": ("--logs",)}
"""Helm 3 takes the test's pod away before it reads its log."""
SUCCEEDED = "Phase:          Succeeded"
DERIVED = "localhost/slipway-with-program:test"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program's module and an artifact of it."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "my_program.py").write_text(PROGRAM, "utf-8")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLIPWAY_")}
    environ = {**inherited, "PYTHONPATH": str(folder), "DSPY_CACHEDIR": str(folder / "cache")}
    slipway = Path(sys.executable).with_name("slipway")
    for command in (
        [sys.executable, "my_program.py"],
        [slipway, "artifact", "adopt", "answer.json", "--program", "my_program:Answer", "--store", "artifacts"],
    ):
        subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, text=True, timeout=120)
    return folder


@pytest.fixture
def release(cluster: Cluster, program: Path, request: pytest.FixtureRequest) -> Iterator[Release]:
    """A namespace, and no release yet."""
    name = str(request.param)
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.kubectl.apply(namespace)
    yield Release(cluster, name, program, {})
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def answers(release: Release, folder: Path, image: str, **values: Any) -> str:
    """Install the program over the chart's scenario for a try-out; what `helm test` says."""
    repository, _, tag = image.rpartition(":")
    scenario = yaml.safe_load((CHART / "ci/tryout-values.yaml").read_text("utf-8"))
    [manifest] = (folder / "artifacts").glob("*.meta.json")
    state = manifest.with_name(manifest.name.replace(".meta.json", ".json"))
    said = "[[ ## answer ## ]]\nQuartz.\n\n[[ ## completed ## ]]"
    provider = ClusterProvider(release.kubectl, release.namespace, release.cluster.image, answer="text", text=said)
    here = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "program": {"path": "my_program:Answer"},
        "lm": {**scenario["lm"], "endpoint": provider.endpoint},
        "artifacts": {"v1": {"state": state.read_text("utf-8"), "manifest": manifest.read_text("utf-8")}},
        "serving": {**scenario["serving"], "resources": SMALL},
        "verifyHook": {"enabled": True, "resources": SMALL},
    }
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump({**scenario, **here, **values}), "utf-8")
    release.helm("install", str(CHART), "--values", str(file))
    release.ready()
    return release.helm("test", *LOGS[release.tool])


def test_the_serving_image_adds_little_to_its_base(cluster: Cluster, figures: Figures) -> None:
    if cluster.local is None:
        pytest.skip("a cluster that was given, with an image of its own")
    sizes = run(str(ROOT / "scripts/image"), "sizes", "serve", environ=os.environ, seconds=600)
    _, base, more = map(int, sizes.split())
    assert base > 0
    assert more < LARGEST_MB
    figures["image serve over its base, MB unpacked"] = more


@pytest.mark.parametrize("release", ["derived"], indirect=True)
def test_a_derived_image_of_three_lines_serves_a_program(release: Release, program: Path) -> None:
    if release.cluster.local is None:
        pytest.skip("a cluster that was given: its nodes cannot be handed an image")
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    [text] = re.findall(r"^ *```dockerfile\n(.+?)^ *```$", page, re.MULTILINE | re.DOTALL)
    lines = textwrap.dedent(text).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("FROM ")
    (program / "Dockerfile").write_text("\n".join([f"FROM {release.cluster.image}", *lines[1:]]), "utf-8")
    done = run(str(ROOT / "scripts/image"), "derived", str(program), DERIVED, environ=os.environ)
    image, archive = done.split()
    release.cluster.local("load", archive)
    assert "Quartz." in answers(release, program, image)


@pytest.mark.parametrize("release", ["single"], indirect=True)
def test_a_single_file_from_a_configmap_serves_for_a_try_out_with_helm_3(release: Release, program: Path) -> None:
    release.tool = "helm3"
    release.kubectl("create", "configmap", "my-program", f"--from-file={program / 'my_program.py'}")
    named = {"path": "my_program:Answer", "existingConfigMap": "my-program"}
    assert SUCCEEDED in answers(release, program, release.cluster.image, program=named)
    old = release.pods()
    release.upgrade("--set", "serving.logLevel=debug")
    release.ready()
    assert not release.pods().keys() & old.keys()
    release.helm("rollback", "1")
    release.ready()
    assert SUCCEEDED in release.helm("test")
