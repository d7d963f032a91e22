# SPDX-License-Identifier: Apache-2.0
"""Artifacts as the chart gives them to pods and to the hook: by name and digest, each byte as it was given."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from charts import CHART, NAME, Objects, environment, pod_of, server

from slipway_server.artifacts import verify
from slipway_server.artifacts.files import MAX_CONTENT_BYTES
from slipway_server.demo.program import Guide

Render = Callable[..., Objects]


def volumes(objects: Objects) -> dict[str, dict[str, Any]]:
    pod = objects["Deployment", NAME]["spec"]["template"]["spec"]
    return {volume["name"]: volume for volume in pod["volumes"]}


def artifact_maps(objects: Objects) -> dict[str, dict[str, Any]]:
    return {name: one for (kind, name), one in objects.items() if kind == "ConfigMap" and f"{NAME}-artifact-" in name}


def test_an_artifact_is_an_immutable_configmap_that_the_pod_mounts(objects: Render) -> None:
    rendered = objects("canary")
    maps = artifact_maps(rendered)
    mounted = {volumes(rendered)[f"artifact-{variant}"]["configMap"]["name"] for variant in ("stable", "candidate")}
    assert mounted == set(maps)
    assert all(one["immutable"] for one in maps.values())


def test_what_the_pod_mounts_passes_verification_by_the_digest_that_it_is_given(
    objects: Render, tmp_path: Path
) -> None:
    rendered = objects("canary")
    variables = environment(server(rendered))
    for variant, key in (("stable", "SLIPWAY_ARTIFACT"), ("candidate", "SLIPWAY_CANDIDATE_ARTIFACT")):
        one = rendered["ConfigMap", volumes(rendered)[f"artifact-{variant}"]["configMap"]["name"]]
        for name, text in one.get("data", {}).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        for name, text in one.get("binaryData", {}).items():
            (tmp_path / name).write_bytes(base64.b64decode(text))
        report = verify(tmp_path / Path(variables[key]).name, Guide, digest=variables[f"{key}_DIGEST"])
        assert not report.refused, report.findings


def test_an_artifact_in_use_elsewhere_keeps_its_name_when_another_is_added(objects: Render) -> None:
    before, after = artifact_maps(objects("default")), artifact_maps(objects("canary"))
    assert before.items() <= after.items()


def test_a_switch_changes_the_pods_and_keeps_the_old_artifact(objects: Render) -> None:
    before = objects("canary")
    after = objects(
        "canary", "--set", "variants.stable.artifact=v2,variants.candidate.artifact=,variants.candidate.weight=0"
    )
    assert artifact_maps(before) == artifact_maps(after)
    assert before["Deployment", NAME] != after["Deployment", NAME]


def test_other_content_under_the_same_name_is_another_configmap(objects: Render, tmp_path: Path) -> None:
    values = yaml.safe_load((CHART / "ci/default-values.yaml").read_text(encoding="utf-8"))
    given = values["artifacts"]["v1"]
    plain, packed = tmp_path / "plain.json", tmp_path / "packed.txt"
    plain.write_text(json.dumps(json.loads(given["state"]), indent=1), encoding="utf-8")
    packed.write_bytes(base64.b64encode(gzip.compress(given["state"].encode(), mtime=0)) + b"\n")
    names = {
        *artifact_maps(objects("default")),
        *artifact_maps(objects("default", "--set-file", f"artifacts.v1.state={plain}")),
        *artifact_maps(
            objects("default", "--set", "artifacts.v1.state=", "--set-file", f"artifacts.v1.stateGz={packed}")
        ),
    }
    assert len(names) == 3
    assert len({name.rsplit("-", 1)[0] for name in names}) == 1, "the same digest"


def test_pods_and_the_hook_take_larger_artifacts_from_the_volume_where_that_is_said(objects: Render) -> None:
    key = "SLIPWAY_ARTIFACT_MAX_BYTES"
    rendered = objects("volume", "--set", f"config.{key}={MAX_CONTENT_BYTES}")
    [check] = rendered["Job", f"{NAME}-verify"]["spec"]["template"]["spec"]["containers"]
    assert environment(check)[key] == environment(server(rendered))[key] == str(MAX_CONTENT_BYTES)


# ---- the hook


def test_the_hook_brings_its_own_copies_of_the_artifacts(objects: Render) -> None:
    rendered = objects("everything")
    pod = pod_of(rendered["Job", f"{NAME}-verify"])
    assert pod
    named = {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
    hooks = {}
    for (kind, name), one in rendered.items():
        annotations = one["metadata"].get("annotations", {})
        if kind == "ConfigMap" and "helm.sh/hook" in annotations:
            hooks[name] = int(annotations["helm.sh/hook-weight"])
    assert named == set(hooks)
    weight = int(rendered["Job", f"{NAME}-verify"]["metadata"]["annotations"]["helm.sh/hook-weight"])
    assert all(one < weight for one in hooks.values())
    assert {one["name"] for one in pod["containers"]} == {"stable", "candidate", "shadow"}
    assert pod["serviceAccountName"] == "default", "the release's own is made after the hook"


def test_the_hook_sees_the_same_bytes_as_the_pods(objects: Render) -> None:
    rendered = objects("canary")
    for name, one in artifact_maps(rendered).items():
        copy = rendered["ConfigMap", name.replace(f"{NAME}-", f"{NAME}-verify-")]
        assert (copy.get("data"), copy.get("binaryData")) == (one.get("data"), one.get("binaryData"))


def test_the_first_installation_verifies_nothing_on_a_claim_that_does_not_exist_yet(objects: Render) -> None:
    own = ("--set", "volume.mode=claim,volume.existingClaim=")
    assert ("Job", f"{NAME}-verify") not in objects("volume", *own)
    assert ("Job", f"{NAME}-verify") in objects("volume", *own, "--is-upgrade")
    assert ("Job", f"{NAME}-verify") in objects("volume")
