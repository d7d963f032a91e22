# SPDX-License-Identifier: Apache-2.0
"""The hook evaluates where a floor is set: the artifact that is to become live, after every one was verified."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from charts import Objects, pod_of

from slipway_server.config import load_settings

Render = Callable[..., Objects]
JOB = ("Job", "answers-slipway-verify")
FLOOR = "--set-json=gate.floor=0.6"


def hook(objects: Objects) -> dict[str, Any]:
    pod = pod_of(objects[JOB])
    assert pod
    return pod


def test_nothing_is_evaluated_without_a_floor(objects: Render) -> None:
    assert "initContainers" not in hook(objects("canary"))
    assert [one["command"][1] for one in hook(objects("canary"))["containers"]] == ["artifact", "artifact"]


def test_every_artifact_is_verified_before_one_is_evaluated(objects: Render) -> None:
    pod = hook(objects("canary", FLOOR, "--is-upgrade"))
    assert [one["name"] for one in pod["initContainers"]] == ["candidate", "stable"]
    [gate] = pod["containers"]
    assert gate["command"] == ["slipway", "evaluate"]
    assert {"--floor=0.6", "--metric=exact-match", "--dev=/var/lib/slipway/regression.jsonl"} <= set(gate["args"])
    before = objects("canary", "--is-upgrade")[JOB]["spec"]["activeDeadlineSeconds"]
    assert objects("canary", FLOOR, "--is-upgrade")[JOB]["spec"]["activeDeadlineSeconds"] == before + 1800


@pytest.mark.parametrize(("scenario", "variant"), [("canary", "candidate"), ("loop", "stable")])
def test_the_candidate_is_evaluated_or_else_stable(objects: Render, scenario: str, variant: str) -> None:
    [gate] = hook(objects(scenario, FLOOR, "--is-upgrade"))["containers"]
    settings = load_settings(environ={one["name"]: one["value"] for one in gate["env"]})
    assert str(settings.artifact).startswith(f"/etc/slipway/artifacts/{variant}/")
    assert settings.artifact_digest
    assert settings.lm_api_key_file


def test_examples_come_from_a_configmap_or_from_the_volume(objects: Render) -> None:
    pod = hook(objects("loop"))
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert f"--dev={mounts['examples']}/regression.jsonl" in pod["containers"][0]["args"]
    assert "data" not in mounts, "Qdrant and a ConfigMap: nothing of the volume is needed"
    assert "data" in {one["name"] for one in hook(objects("canary", FLOOR, "--is-upgrade"))["volumes"]}
