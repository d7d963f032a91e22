# SPDX-License-Identifier: Apache-2.0
"""The loop's CronJobs are what the commands need, and its accounts may create what the loop makes and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from charts import Objects, pod_of
from command_words import unknown_words

from slipway_server.config import load_settings
from slipway_server.improve.handover import config_map_name

Render = Callable[..., Objects]
NAME = "answers-slipway"
DIGEST = "ab12" * 16


def container(objects: Objects, component: str) -> dict[str, Any]:
    pod = pod_of(objects["CronJob", f"{NAME}-{component}"])
    assert pod
    [found] = pod["containers"]
    return dict(found)


def environment(objects: Objects, component: str) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(objects, component)["env"] if "value" in one}


def test_a_release_without_the_loop_has_nothing_of_it(objects: Render) -> None:
    kinds = {kind for kind, _ in objects("everything")}
    assert not {"Role", "RoleBinding", "ValidatingAdmissionPolicy"} & kinds
    assert not [name for _, name in objects("everything") if "reevaluate" in name or "recompile" in name]


@pytest.mark.parametrize(("preset", "schedule"), [("daily", "40 0 * * *"), ("weekly", "40 0 * * 1")])
def test_a_preset_is_a_schedule_and_a_rule(objects: Render, preset: str, schedule: str) -> None:
    rendered = objects("loop", "--set", f"loop.preset={preset}")
    spec = rendered["CronJob", f"{NAME}-reevaluate"]["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == (schedule, "Etc/UTC", "Forbid")
    assert spec["startingDeadlineSeconds"] == 3600
    assert load_settings(environ=environment(rendered, "reevaluate")).loop_preset == preset
    own = objects("loop", "--set", "loop.schedule=5 4 * * *")["CronJob", f"{NAME}-reevaluate"]["spec"]
    assert own["schedule"] == "5 4 * * *"


@pytest.mark.parametrize("component", ["reevaluate", "recompile"])
def test_the_command_knows_every_option_that_it_is_given(objects: Render, component: str) -> None:
    rendered = objects("loop", "--set", "loop.recompile.maxCostUsd=2,config.SLIPWAY_LM_PRICES=1/2")
    one = container(rendered, component)
    assert one["command"] == ["slipway", component]
    assert unknown_words([component, *one["args"]]) == []


def test_a_recompilation_starts_by_no_schedule_and_once(objects: Render) -> None:
    one = objects("loop")["CronJob", f"{NAME}-recompile"]
    assert one["spec"]["suspend"] is True
    assert one["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert container(objects("loop"), "recompile")["image"] == "registry.example.com/slipway-full:0.1.0"
    assert "--max-calls=5000" in container(objects("loop"), "recompile")["args"]


def test_both_are_about_the_stable_artifact_and_write_to_the_volume(objects: Render) -> None:
    server = pod_of(objects("loop")["Deployment", NAME])
    assert server
    serving = {one["name"]: one.get("value") for one in server["containers"][0]["env"]}
    for component in ("reevaluate", "recompile"):
        settings = load_settings(environ=environment(objects("loop"), component))
        assert str(settings.artifact) == serving["SLIPWAY_ARTIFACT"]
        assert settings.artifact_digest == serving["SLIPWAY_ARTIFACT_DIGEST"]
        assert str(settings.traffic_dir) == serving["SLIPWAY_TRAFFIC_DIR"] == "/var/lib/slipway/traffic"
    reevaluate = load_settings(environ=environment(objects("loop"), "reevaluate"))
    assert reevaluate.loop_job_template == f"{NAME}-recompile"
    assert str(reevaluate.judge_api_key_file) == "/etc/slipway/secrets/judge/api-key"
    recompile = load_settings(environ=environment(objects("loop"), "recompile"))
    assert (recompile.loop_release, recompile.loop_chart) == ("answers", "oci://registry.example.com/charts/slipway")
    assert "--out=/var/lib/slipway/candidates" in container(objects("loop"), "recompile")["args"]


def test_a_bundle_comes_from_a_configmap_or_from_the_volume(objects: Render) -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container(objects("loop"), "recompile")["volumeMounts"]}
    assert f"--bundle={mounts['bundle']}" in container(objects("loop"), "recompile")["args"]
    on_volume = objects("loop", "--set", "loop.bundle.existingConfigMap=,loop.bundle.path=bundles/guide")
    for component in ("reevaluate", "recompile"):
        assert "--bundle=/var/lib/slipway/bundles/guide" in container(on_volume, component)["args"]


# ---- rights


def rights(objects: Objects) -> dict[str, set[tuple[str, str, str]]]:
    """Account → (verb, resource, name or "*") of the roles that are bound to it."""
    found: dict[str, set[tuple[str, str, str]]] = {}
    for (kind, _), one in objects.items():
        if kind == "RoleBinding":
            rules = objects["Role", one["roleRef"]["name"]]["rules"]
            [subject] = one["subjects"]
            assert ("ServiceAccount", subject["name"]) in objects
            found[subject["name"]] = {
                (verb, resource, name)
                for rule in rules
                for verb in rule["verbs"]
                for resource in rule["resources"]
                for name in rule.get("resourceNames", ["*"])
            }
    return found


def test_each_account_may_do_what_its_command_does_and_no_more(objects: Render) -> None:
    assert rights(objects("loop")) == {
        f"{NAME}-reevaluate": {
            ("get", "cronjobs", f"{NAME}-recompile"),
            ("create", "jobs", "*"),
            ("create", "events", "*"),
        },
        f"{NAME}-recompile": {("create", "configmaps", "*"), ("create", "events", "*")},
    }
    for component in ("reevaluate", "recompile"):
        pod = pod_of(objects("loop")["CronJob", f"{NAME}-{component}"])
        assert pod
        assert pod["serviceAccountName"] == f"{NAME}-{component}"
    serving = pod_of(objects("loop")["Deployment", NAME])
    assert serving
    assert serving["serviceAccountName"] not in rights(objects("loop"))


def test_a_policy_holds_every_creation_of_every_account(objects: Render) -> None:
    rendered = objects("loop")
    held = set()
    for (kind, name), one in rendered.items():
        if kind == "ValidatingAdmissionPolicy":
            binding = rendered["ValidatingAdmissionPolicyBinding", name]["spec"]
            assert (binding["policyName"], binding["validationActions"]) == (name, ["Deny"])
            [rule], [condition] = one["spec"]["matchConstraints"]["resourceRules"], one["spec"]["matchConditions"]
            accounts = re.findall(r"system:serviceaccount:search:([\w-]+)", condition["expression"])
            held |= {(account, resource) for account in accounts for resource in rule["resources"]}
            assert one["spec"]["failurePolicy"] == "Fail"
    wanted = rights(rendered).items()
    assert held == {(who, what) for who, may in wanted for verb, what, _ in may if verb == "create"}


def test_names_of_the_policies_are_names_that_the_loop_gives(objects: Render) -> None:
    for long in ("", "a" * 40):
        rendered = objects("loop", *(["--set", f"fullnameOverride={long}"] if long else []))
        [policy] = [
            one for (kind, name), one in rendered.items() if kind == "ValidatingAdmissionPolicy" and "jobs." in name
        ]
        [cronjob] = [name for kind, name in rendered if kind == "CronJob" and name.endswith("-recompile")]
        pattern = re.search(r"matches\('(.+?)'\)", policy["spec"]["validations"][0]["expression"])
        assert pattern
        assert re.fullmatch(pattern[1], f"{cronjob[: 63 - 17]}-{DIGEST[:16]}")
    candidates = objects("loop")["ValidatingAdmissionPolicy", f"configmaps.{NAME}.search.slipway"]["spec"]
    pattern = re.search(r"matches\('(.+?)'\)", candidates["validations"][0]["expression"])
    assert pattern
    assert re.fullmatch(pattern[1], config_map_name("answers", DIGEST))


def test_policies_are_left_to_the_cluster_unless_asked_for(objects: Render) -> None:
    kinds = "ValidatingAdmissionPolicy"
    known = ("--api-versions", "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy")
    for value, arguments, there in (("auto", (), False), ("auto", known, True), ("never", known, False)):
        rendered = objects("loop", "--set", f"loop.admissionPolicy={value}", *arguments)
        assert any(kind == kinds for kind, _ in rendered) is there, value
