# SPDX-License-Identifier: Apache-2.0
"""What `slipway release` gives to Helm renders, with Helm's own reading of it, to what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, KUBERNETES, Helm, Objects, parsed, refusal

from slipway_server.artifacts import manifest_path
from slipway_server.release import State, differences, promote, share, ship
from slipway_server.release.helm import reason
from slipway_server.release.plan import PACKED_FROM_BYTES, Plan

NAME = "answers-slipway"


class Live:
    """A release: what was given so far, and what it renders to."""

    def __init__(self, helm: Helm, folder: Path) -> None:
        self._helm, self._folder = helm, folder
        self.values: dict[str, Any] = yaml.safe_load((CHART / "ci/default-values.yaml").read_text(encoding="utf-8"))

    def manifest(self, plan: Plan | None = None) -> str:
        """Rendered with a plan's options, or as it is."""
        file = self._folder / "reused.yaml"
        file.write_text(yaml.safe_dump(self.values), encoding="utf-8")
        where = ("answers", str(CHART), "--namespace", "search", "--kube-version", KUBERNETES, "--is-upgrade")
        return self._helm.run("template", *where, "--no-hooks", "--values", str(file), *(plan.options if plan else ()))

    def objects(self, plan: Plan) -> Objects:
        return parsed(self.manifest(plan))


@pytest.fixture
def live(helm: Helm, tmp_path: Path) -> Live:
    return Live(helm, tmp_path)


@pytest.fixture(params=["plain", "packed"])
def artifact(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small one, or one that goes gzipped; its folder's name has what Helm would read as more than one setting."""
    given = yaml.safe_load((CHART / "ci/everything-values.yaml").read_text(encoding="utf-8"))["artifacts"]["v2"]
    path = tmp_path / "a,b=c" / "guide-2.json"
    path.parent.mkdir()
    state = json.loads(given["state"])
    if request.param == "packed":
        state["generate_answer.predict"]["demos"] *= PACKED_FROM_BYTES // 50
    path.write_text(json.dumps(state), encoding="utf-8")
    manifest_path(path).write_text(given["manifest"], encoding="utf-8")
    return path


def test_a_shipped_artifact_is_the_candidate_in_the_pods(live: Live, artifact: Path) -> None:
    plan = ship(State.of(live.values), artifact, weight_bps=1000)
    if plan.packed:
        plan.packed.path.write_bytes(plan.packed.content)
    objects = live.objects(plan)
    pod = objects["Deployment", NAME]["spec"]["template"]["spec"]
    [volume] = [one for one in pod["volumes"] if one["name"] == "artifact-candidate"]
    held = objects["ConfigMap", volume["configMap"]["name"]]
    assert set(held.get("data", {})) | set(held.get("binaryData", {})) == {
        "guide-2.meta.json",
        "guide-2.json.gz" if plan.packed else "guide-2.json",
    }
    assert json.loads(objects["ConfigMap", f"{NAME}-routing"]["data"]["routing.json"])["candidate"] == 1000
    changes = {(one.change, one.kind) for one in differences(live.manifest(), live.manifest(plan))}
    assert changes == {("added", "ConfigMap"), ("changed", "ConfigMap"), ("changed", "Deployment")}


@pytest.mark.parametrize("name", ["7", "null", "1e5"])
def test_a_name_that_looks_like_something_else_is_a_name(live: Live, artifact: Path, name: str) -> None:
    plan = ship(State.of(live.values), artifact, weight_bps=1000, key=name)
    if plan.packed:
        plan.packed.path.write_bytes(plan.packed.content)
    [container] = live.objects(plan)["Deployment", NAME]["spec"]["template"]["spec"]["containers"]
    assert "SLIPWAY_CANDIDATE_ARTIFACT" in {one["name"] for one in container["env"]}


def test_a_share_changes_the_weights_and_no_pod(live: Live) -> None:
    live.values = yaml.safe_load((CHART / "ci/canary-values.yaml").read_text(encoding="utf-8"))
    found = differences(live.manifest(), live.manifest(share(State.of(live.values), 5000)))
    assert [(one.change, one.kind, one.name) for one in found] == [("changed", "ConfigMap", f"{NAME}-routing")]


def test_promoting_makes_the_candidate_stable(live: Live) -> None:
    live.values = yaml.safe_load((CHART / "ci/canary-values.yaml").read_text(encoding="utf-8"))
    objects = live.objects(promote(State.of(live.values)))
    environment = objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"][0]["env"]
    digests = {one["name"]: one.get("value") for one in environment if one["name"].endswith("ARTIFACT_DIGEST")}
    assert digests == {"SLIPWAY_ARTIFACT_DIGEST": json.loads(live.values["artifacts"]["v2"]["manifest"])["digest"]}


def test_why_helm_refuses_is_one_line(helm: Helm) -> None:
    assert reason(refusal(helm, "default", "--set", "lm.model=")) == (
        "lm.model is not set: name the LM as provider/model, such as openai/gpt-4o-mini"
    )
    assert set(reason(refusal(helm, "default", "--set", "serving.replicas=-1,image.digest=x")).split("; ")) == {
        "at '/serving/replicas': value must be 'a whole number of 0 or more, or null'",
        "at '/image/digest': value must be 'sha256: and 64 hex digits, or empty'",
    }
