# SPDX-License-Identifier: Apache-2.0
"""kube-linter's default checks object to nothing in the scenarios but what is meant, and each finds its fault."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from charts import NAME, SCENARIOS, Objects
from linter_checks import CHECKS

Render = Callable[..., Objects]
MEANT = {
    # topologySpreadConstraints spread the pods, and count those of one version only.
    "no-anti-affinity": {f"Deployment {NAME}"},
    # Their Jobs are made by hand or by the loop, and no schedule's history ends with them.
    "job-ttl-seconds-after-finished": {f"CronJob {NAME}-ingest", f"CronJob {NAME}-recompile"},
}


def pod(objects: Objects) -> Any:
    return objects["Deployment", NAME]["spec"]["template"]["spec"]


def put(*path: str, to: Any) -> Callable[[Any], None]:
    """Sets a field below a mapping."""

    def change(one: Any) -> None:
        *parents, last = path
        for name in parents:
            one = one[name]
        one[last] = to

    return change


def on_server(change: Callable[[Any], None]) -> Callable[[Objects], None]:
    return lambda objects: change(pod(objects)["containers"][0])


def on_pod(change: Callable[[Any], None]) -> Callable[[Objects], None]:
    return lambda objects: change(pod(objects))


def on(kind: str, change: Callable[[Any], None], suffix: str = "") -> Callable[[Objects], None]:
    return lambda objects: change(objects[kind, NAME + suffix])


SPOILT: dict[str, Callable[[Objects], None]] = {
    "dangling-service": on("Service", put("spec", "selector", to={"app": "another"}), "-headless"),
    "deprecated-service-account-field": on_pod(put("serviceAccount", to="answers")),
    "docker-sock": on_pod(lambda one: one["volumes"].append({"hostPath": {"path": "/var/run/docker.sock"}})),
    "drop-net-raw-capability": on_server(put("securityContext", "capabilities", to={"drop": ["KILL"]})),
    "duplicate-env-var": on_server(lambda one: one["env"].append(one["env"][0])),
    "env-var-secret": on_server(lambda one: one["env"].append({"name": "MY_SECRET", "value": "x"})),
    "host-ipc": on_pod(put("hostIPC", to=True)),
    "host-network": on_pod(put("hostNetwork", to=True)),
    "host-pid": on_pod(put("hostPID", to=True)),
    "invalid-target-ports": on("Service", put("spec", "ports", to=[{"targetPort": "http"}])),
    "job-ttl-seconds-after-finished": on("Job", lambda one: one["spec"].pop("ttlSecondsAfterFinished"), "-verify"),
    "latest-tag": on_server(put("image", to="registry.example.com:5000/slipway")),
    "liveness-port": on_server(put("livenessProbe", "grpc", "port", to=1)),
    "mismatching-selector": on("Deployment", put("spec", "selector", "matchLabels", to={"app": "another"})),
    "no-anti-affinity": on("Deployment", put("spec", "replicas", to=2)),
    "no-extensions-v1beta": on("Deployment", put("apiVersion", to="extensions/v1beta1")),
    "no-read-only-root-fs": on_server(put("securityContext", "readOnlyRootFilesystem", to=False)),
    "non-existent-service-account": on_pod(put("serviceAccountName", to="nobody")),
    "pdb-max-unavailable": on("PodDisruptionBudget", put("spec", "maxUnavailable", to="0%")),
    "pdb-min-available": on("PodDisruptionBudget", put("spec", "minAvailable", to=2)),
    "pdb-unhealthy-pod-eviction-policy": on(
        "PodDisruptionBudget", lambda one: one["spec"].pop("unhealthyPodEvictionPolicy")
    ),
    "privilege-escalation-container": on_server(put("securityContext", "allowPrivilegeEscalation", to=True)),
    "privileged-container": on_server(put("securityContext", "privileged", to=True)),
    "readiness-port": on_server(put("readinessProbe", "grpc", "port", to=1)),
    "run-as-non-root": on_server(put("securityContext", "runAsUser", to=0)),
    "sensitive-host-mounts": on_pod(lambda one: one["volumes"].append({"hostPath": {"path": "/etc"}})),
    "ssh-port": on_server(lambda one: one["ports"].append({"name": "ssh", "containerPort": 22})),
    "startup-port": on_server(put("startupProbe", "grpc", "port", to=1)),
    "unsafe-sysctls": on_pod(put("securityContext", "sysctls", to=[{"name": "kernel.msgmax", "value": "1"}])),
    "unset-cpu-requirements": on_server(put("resources", "requests", to={"memory": "1Gi"})),
    "unset-memory-requirements": on_server(put("resources", "limits", to={})),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_objected_to_but_what_is_meant(objects: Render, scenario: str) -> None:
    rendered = objects(scenario)
    found = {name: set(check(rendered)) - MEANT.get(name, set()) for name, check in CHECKS.items()}
    assert {name: where for name, where in found.items() if where} == {}


def test_what_is_meant_is_what_there_is(objects: Render) -> None:
    rendered = [objects(scenario) for scenario in SCENARIOS]
    assert {name: {where for one in rendered for where in CHECKS[name](one)} for name in MEANT} == MEANT


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_finds_its_fault(objects: Render, name: str) -> None:
    rendered = copy.deepcopy(dict(objects("default")))
    rendered["Deployment", NAME]["spec"]["replicas"] = 1
    assert list(CHECKS[name](rendered)) == []
    SPOILT[name](rendered)
    assert list(CHECKS[name](rendered))
