# SPDX-License-Identifier: Apache-2.0
"""What `slipway release` shows on a real cluster, with both majors of Helm; and what its hook refuses and evaluates.

That ship, promote and rollback lose nothing, test_install sees: it types them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from charts import CHART, HELMS, TOOLS
from cluster_install import Install
from cluster_release import NAME, RELEASE, Release
from kube import Refused, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SPACE = "shipping"
SLIPWAY = str(Path(sys.executable).with_name("slipway"))


@pytest.fixture(scope="module")
def release(install: Install) -> Iterator[Release]:
    with install(SPACE, replicas=2, provider={"latency_seconds": 0.05}) as release:
        yield release


def slipway(release: Release, step: str, *arguments: str, helm: str = "helm4") -> dict[str, Any]:
    """What `slipway release STEP` prints as JSON. Raises Refused."""
    where = ("--release", RELEASE, "--namespace", release.namespace, "--chart", str(CHART))
    environ = {**os.environ, **release.kubectl.environ}
    command = (SLIPWAY, "release", step, *arguments, *where, "--helm", str(TOOLS / helm), "--json")
    return dict(json.loads(run(*command, environ=environ)))


def variants(release: Release) -> dict[str, str]:
    """Digest by variant, as the pods' environment has them."""
    [container] = release.deployment()["spec"]["template"]["spec"]["containers"]
    found = {one["name"]: one.get("value", "") for one in container["env"]}
    keys = {"stable": "SLIPWAY_ARTIFACT_DIGEST", "candidate": "SLIPWAY_CANDIDATE_ARTIFACT_DIGEST"}
    return {variant: found[key] for variant, key in keys.items() if key in found}


@pytest.mark.parametrize("helm", HELMS)
def test_a_dry_run_shows_what_would_change_and_changes_nothing(release: Release, helm: str) -> None:
    revision = release.revision()
    seen = slipway(release, "ship", str(release.artifact("b")), "--dry-run", helm=helm)
    changed = {(one["change"], one["kind"], one["name"]) for one in seen["objects"]}
    assert {("changed", "Deployment", NAME), ("changed", "ConfigMap", f"{NAME}-routing")} < changed
    assert [kind for change, kind, _ in changed if change == "added"] == ["ConfigMap"]
    assert len(changed) == 3, changed
    assert release.revision() == revision


def test_what_the_hook_refuses_changes_nothing(release: Release) -> None:
    """The artifact is good for the program here, and not for the one of the release: only the hook can see that."""
    pods, before, live = release.pods(), variants(release), release.revision()
    wrong = ("--set", "program.path=slipway_server.programs.rag:RAG")
    with pytest.raises(Refused, match="pre-upgrade hooks failed"):
        release.upgrade(*release.files("b"), "--set", "variants.stable.artifact=b", *wrong)
    assert release.pods() == pods
    assert variants(release) == before
    left = release.kubectl("get", "configmaps", "--output=name").split()
    assert not [name for name in left if f"{NAME}-verify-" in name], "the hook's copies are gone"
    assert release.revision() == live + 1, "Helm counts what failed, too"
    back = slipway(release, "rollback")
    assert f"revision {live + 1} did not succeed: all of revision {live} again" in back["note"]


def test_the_hook_evaluates_where_a_floor_is_set(release: Release) -> None:
    examples = resources.files("slipway_server.demo").joinpath("regression.jsonl").read_text("utf-8")
    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "regression"}}
    release.kubectl.apply({**one, "data": {"regression.jsonl": examples}})
    before, pods = variants(release), release.pods()
    shipped = (*release.files("b"), "--set", "variants.candidate.artifact=b,variants.candidate.weight=100")
    gate = ("--set", "gate.existingConfigMap=regression,gate.metric=token-f1", "--set-json")
    with pytest.raises(Refused, match="pre-upgrade hooks failed"):
        release.upgrade(*shipped, *gate, "gate.floor=0.999")
    assert (variants(release), release.pods()) == (before, pods)
    assert "FAIL: " in release.kubectl("logs", f"job/{NAME}-verify", "--container=gate")
    release.upgrade(*shipped, *gate, "gate.floor=0.01")
    release.ready()
    assert variants(release)["candidate"] == release.digest("b")
