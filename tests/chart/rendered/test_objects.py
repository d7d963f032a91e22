# SPDX-License-Identifier: Apache-2.0
"""What the rendered objects promise: names, switching, routing, shutdown, security."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, SCENARIOS, Objects, pod_of, pods_of

from slipway_server.artifacts import verify
from slipway_server.artifacts.files import MAX_CONTENT_BYTES
from slipway_server.config import load_settings
from slipway_server.demo.program import Guide
from slipway_server.runtime.routing import Routing

Render = Callable[..., Objects]
NAME = "answers-slipway"
WITH_TOKEN = {f"CronJob {NAME}-reevaluate", f"CronJob {NAME}-recompile"}
CLUSTER_KINDS = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def server(objects: Objects) -> dict[str, Any]:
    return dict(objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"][0])


def volumes(objects: Objects) -> dict[str, dict[str, Any]]:
    pod = objects["Deployment", NAME]["spec"]["template"]["spec"]
    return {volume["name"]: volume for volume in pod["volumes"]}


# ---- artifacts


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


# ---- routing


@pytest.mark.parametrize("weight", [0, 1, 10_000])
def test_a_weight_changes_the_routing_file_and_no_pod(objects: Render, weight: int) -> None:
    before, after = objects("canary"), objects("canary", "--set", f"variants.candidate.weight={weight}")
    assert {key for key in after if after[key] != before[key]} == {("ConfigMap", f"{NAME}-routing")}
    file = after["ConfigMap", f"{NAME}-routing"]["data"]["routing.json"]
    assert Routing().updated(file.encode()).candidate_bps == weight


def test_files_that_change_while_pods_run_are_mounted_as_folders(objects: Render) -> None:
    mounts = {mount["name"]: mount for mount in server(objects("default"))["volumeMounts"]}
    assert all("subPath" not in mounts[name] for name in ("routing", "lm-key"))
    assert "immutable" not in objects("default")["ConfigMap", f"{NAME}-routing"]


# ---- configuration


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_container_s_environment_is_a_configuration_that_the_server_takes(objects: Render, scenario: str) -> None:
    for where, pod in pods_of(objects(scenario)):
        for container in pod["containers"]:
            keys = {key: value for key, value in environment(container).items() if key.startswith(("SLIPWAY", "DSPY"))}
            settings = load_settings(environ=keys)
            assert not settings.lm_model.startswith("offline/") or container["name"] != "server", where


def test_values_reach_the_configuration(objects: Render) -> None:
    settings = load_settings(environ=environment(server(objects("everything"))))
    assert (settings.lm_max_tokens, settings.cache_memory_bytes, settings.cache_answers) == (500, 268435456, True)
    assert (settings.host, settings.log_format, settings.lm_rpm, settings.lm_tpm) == ("0.0.0.0", "json", 500, 200_000)
    assert (settings.routing_salt, settings.traffic_fields) == ("autumn", "question,answer")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_key_of_a_provider_is_in_an_environment_or_a_configmap(objects: Render, scenario: str) -> None:
    for _, pod in pods_of(objects(scenario)):
        for container in pod["containers"]:
            assert not {"SLIPWAY_LM_API_KEY", "SLIPWAY_EMBEDDING_API_KEY"} & set(environment(container))
    assert not any(kind == "Secret" for kind, _ in objects(scenario))


# ---- shutdown and disruption


def test_the_grace_period_covers_pre_stop_drain_and_the_longest_call(objects: Render) -> None:
    rendered = objects(
        "default",
        "--set-json",
        "serving.deadlineSeconds=200.5",
        "--set",
        "serving.drainSeconds=4,serving.preStopSeconds=7",
    )
    pod = rendered["Deployment", NAME]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= 200.5 + 4 + 7 + 5
    given = objects("everything")["Deployment", NAME]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert given == 120


@pytest.mark.parametrize(("kubernetes", "action"), [("1.29.5", "exec"), ("1.30.0", "sleep"), ("1.34.2-gke.1", "sleep")])
def test_pre_stop_sleeps_by_the_kubelet_where_it_can(objects: Render, kubernetes: str, action: str) -> None:
    assert list(server(objects("default", kubernetes=kubernetes))["lifecycle"]["preStop"]) == [action]
    at_once = objects("default", "--set", "serving.preStopSeconds=0", kubernetes=kubernetes)
    assert "lifecycle" not in server(at_once), "Kubernetes before 1.33 refuses a sleep of 0"


def test_zero_is_a_value(objects: Render) -> None:
    budget = objects("default", "--set", "podDisruptionBudget.minAvailable=0")["PodDisruptionBudget", NAME]["spec"]
    assert budget["minAvailable"] == 0
    assert "maxUnavailable" not in budget
    pods = objects("default", "--set", "serving.replicas=0,podDisruptionBudget.enabled=false")["Deployment", NAME]
    assert pods["spec"]["replicas"] == 0


@pytest.mark.parametrize(("scenario", "value"), [("external", ""), ("default", "serving.replicas=null")])
def test_the_number_of_pods_is_left_to_what_scales(objects: Render, scenario: str, value: str) -> None:
    assert "replicas" not in objects(scenario, *(["--set", value] if value else []))["Deployment", NAME]["spec"]


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


# ---- security


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_meets_the_restricted_standard_and_only_the_loop_has_a_token(objects: Render, scenario: str) -> None:
    for where, pod in pods_of(objects(scenario)):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert pod["automountServiceAccountToken"] is (where in WITH_TOKEN), where
        assert pod["enableServiceLinks"] is False, where
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where
            assert {"requests", "limits"} <= set(container["resources"]), where
        allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
        assert {kind for volume in pod["volumes"] for kind in volume} - {"name"} <= allowed, where
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, where


def test_a_policy_lets_in_callers_scrapers_and_helm_test_and_out_what_is_needed(objects: Render) -> None:
    spec = objects("external", "--set", "networkPolicy.enabled=true")["NetworkPolicy", NAME]["spec"]
    assert all("from" not in rule for rule in spec["ingress"])
    assert sorted(port["port"] for port in spec["egress"][1]["ports"]) == [6333, 6334, 8000, 11434]
    narrow = objects("everything")["NetworkPolicy", NAME]["spec"]
    assert {"podSelector"} in [set(peer) for peer in narrow["ingress"][0]["from"]]
    assert [port["port"] for port in narrow["egress"][1]["ports"]] == [443]


def test_jobs_take_no_calls_and_reach_what_they_need(objects: Render) -> None:
    spec = objects("everything")["NetworkPolicy", f"{NAME}-jobs"]["spec"]
    labels = spec["podSelector"]["matchLabels"]
    for (kind, name), one in objects("everything").items():
        if kind in ("CronJob", "Job", "Pod"):
            job = one["spec"].get("jobTemplate", {}).get("spec", one["spec"])
            metadata = job["template"]["metadata"] if "template" in job else one["metadata"]
            assert labels.items() <= metadata["labels"].items(), name
            assert metadata["labels"]["app.kubernetes.io/component"] != "server", name
    assert (spec["policyTypes"], "ingress" in spec) == (["Ingress", "Egress"], False)
    [_, servers, backends, extra] = spec["egress"]
    assert servers["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "server"
    assert [port["port"] for port in backends["ports"]] == [443]
    assert extra["ports"][0]["port"] == 3128
    with_loop = objects("loop")["NetworkPolicy", f"{NAME}-jobs"]["spec"]["egress"]
    assert [port["port"] for port in with_loop[-1]["ports"]] == [443, 6443]


# ---- names


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_selectors_hold_nothing_that_a_user_or_a_version_changes(objects: Render, scenario: str) -> None:
    deployment = objects(scenario)["Deployment", NAME]["spec"]
    assert set(deployment["selector"]["matchLabels"]) == {
        f"app.kubernetes.io/{name}" for name in ("name", "instance", "component")
    }
    labels = deployment["template"]["metadata"]["labels"]
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels), "a new chart alone restarts nothing"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_object_is_in_the_namespace_and_labelled(objects: Render, scenario: str) -> None:
    for (kind, name), one in objects(scenario).items():
        if name != "answers-extra":
            place = None if kind in CLUSTER_KINDS else "search"
            assert one["metadata"].get("namespace") == place, (kind, name)
            assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "answers", (kind, name)


def test_long_names_are_cut(objects: Render) -> None:
    long = "a" * 80
    for kind, name in objects("default", "--set", f"fullnameOverride={long}"):
        assert len(name) <= (52 if kind == "CronJob" else 253 if kind == "ConfigMap" else 63)
