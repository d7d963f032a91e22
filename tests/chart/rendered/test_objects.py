# SPDX-License-Identifier: Apache-2.0
"""What the rendered objects promise: routing, configuration, shutdown, security, names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from charts import NAME, SCENARIOS, Objects, environment, pods_of, server

from slipway_server.config import load_settings
from slipway_server.runtime.routing import Routing

Render = Callable[..., Objects]
WITH_TOKEN = {f"CronJob {NAME}-reevaluate", f"CronJob {NAME}-recompile"}
CLUSTER_KINDS = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


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
