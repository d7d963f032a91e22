# SPDX-License-Identifier: Apache-2.0
"""What kube-linter checks by default, as checks of a render: its module cannot be built from what the Go proxy serves.

The checks are those of github.com/stackrox/kube-linter, docs/generated/checks.md (August 2026), by their names there.
Each gives what it objects to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from charts import Objects, pods_of

Found = Iterator[str]
Check = Callable[[Objects], Found]

HOST_FOLDERS = {"/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr"}
UNSAFE_SYSCTLS = re.compile(r"kernel\.(msg|sem|shm)|fs\.mqueue\.|net\.")
PORT_NAME = re.compile(r"(?=.{1,15}$)(?!.*--)(?=.*[a-z])[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def of_kind(objects: Objects, *kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for (kind, name), one in objects.items():
        if kind in kinds:
            yield f"{kind} {name}", one


def containers(objects: Objects) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every container, with the name of what describes it, and its pod."""
    for where, pod in pods_of(objects):
        for one in [*pod.get("initContainers", ()), *pod["containers"]]:
            yield f"{where} {one['name']}", one, pod


def ports(container: dict[str, Any]) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container.get("ports", ())}


def labels(deployment: dict[str, Any]) -> dict[str, str]:
    return dict(deployment["spec"]["template"]["metadata"]["labels"])


def pods(refused: Callable[[dict[str, Any]], Any]) -> Check:
    """A check of every pod."""
    return lambda objects: (where for where, pod in pods_of(objects) if refused(pod))


def each(refused: Callable[[dict[str, Any]], Any]) -> Check:
    """A check of every container."""
    return lambda objects: (where for where, one, _ in containers(objects) if refused(one))


def security(refused: Callable[[dict[str, Any]], Any]) -> Check:
    """A check of every container's security context, over that of its pod."""
    return lambda objects: (
        where
        for where, one, pod in containers(objects)
        if refused({**pod.get("securityContext", {}), **one.get("securityContext", {})})
    )


def probe(name: str) -> Check:
    """A check that what is probed is a port of the container."""

    def unknown(container: dict[str, Any]) -> bool:
        found = [probe["port"] for probe in container.get(name, {}).values() if isinstance(probe, dict)]
        return bool(set(found) - {*ports(container), *ports(container).values()})

    return each(unknown)


def host_folders(objects: Objects) -> Found:
    for where, pod in pods_of(objects):
        if any(volume.get("hostPath", {}).get("path") in HOST_FOLDERS for volume in pod["volumes"]):
            yield where


def dangling_service(objects: Objects) -> Found:
    found = [labels(one) for _, one in of_kind(objects, "Deployment")]
    for where, one in of_kind(objects, "Service"):
        if not any(one["spec"]["selector"].items() <= pod.items() for pod in found):
            yield where


def mismatching_selector(objects: Objects) -> Found:
    for where, one in of_kind(objects, "Deployment"):
        if not one["spec"]["selector"]["matchLabels"].items() <= labels(one).items():
            yield where


def target_ports(objects: Objects) -> Found:
    named = [name for _, one, _ in containers(objects) for name in ports(one)]
    targets = [port["targetPort"] for _, one in of_kind(objects, "Service") for port in one["spec"]["ports"]]
    for name in [*named, *targets]:
        good = PORT_NAME.fullmatch(name) if isinstance(name, str) else 1 <= name <= 65535
        if not good or (isinstance(name, str) and name not in named):
            yield str(name)


def job_ttl(objects: Objects) -> Found:
    for where, one in of_kind(objects, "Job"):
        if "ttlSecondsAfterFinished" not in one["spec"]:
            yield where
    for where, one in of_kind(objects, "CronJob"):
        if "ttlSecondsAfterFinished" in one["spec"]["jobTemplate"]["spec"]:
            yield where


def anti_affinity(objects: Objects) -> Found:
    for where, one in of_kind(objects, "Deployment"):
        affinity = one["spec"]["template"]["spec"].get("affinity", {})
        if one["spec"].get("replicas", 2) >= 2 and not affinity.get("podAntiAffinity"):
            yield where


def service_accounts(objects: Objects) -> Found:
    made = {"default", *(one["metadata"]["name"] for _, one in of_kind(objects, "ServiceAccount"))}
    for where, pod in pods_of(objects):
        if pod.get("serviceAccountName", "default") not in made:
            yield where


def budgets(refused: Callable[[dict[str, Any], int], Any]) -> Check:
    """A check of every disruption budget, with how many pods there are at least."""

    def check(objects: Objects) -> Found:
        scaled = [one["spec"]["minReplicas"] for _, one in of_kind(objects, "HorizontalPodAutoscaler")]
        [deployment] = [one["spec"] for _, one in of_kind(objects, "Deployment")]
        for where, one in of_kind(objects, "PodDisruptionBudget"):
            if refused(one["spec"], scaled[0] if scaled else deployment["replicas"]):
                yield where

    return check


def without(kind: str, name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda container: not container.get("resources", {}).get(kind, {}).get(name)


def doubled(container: dict[str, Any]) -> bool:
    names = [one["name"] for one in container.get("env", ())]
    return len(names) != len(set(names))


def secret_text(container: dict[str, Any]) -> bool:
    return any("secret" in one["name"].lower() and one.get("value") for one in container.get("env", ()))


def unsafe_sysctls(pod: dict[str, Any]) -> list[Any]:
    return [one for one in pod["securityContext"].get("sysctls", ()) if UNSAFE_SYSCTLS.match(one["name"])]


def ssh_port(container: dict[str, Any]) -> bool:
    return 22 in ports(container).values()


CHECKS: dict[str, Check] = {
    "dangling-service": dangling_service,
    "deprecated-service-account-field": pods(lambda pod: "serviceAccount" in pod),
    "docker-sock": pods(lambda pod: "docker.sock" in str([one.get("hostPath") for one in pod["volumes"]])),
    "drop-net-raw-capability": security(
        lambda one: not {"ALL", "NET_RAW"} & set(one.get("capabilities", {}).get("drop", ()))
    ),
    "duplicate-env-var": each(doubled),
    "env-var-secret": each(secret_text),
    "host-ipc": pods(lambda pod: pod.get("hostIPC")),
    "host-network": pods(lambda pod: pod.get("hostNetwork")),
    "host-pid": pods(lambda pod: pod.get("hostPID")),
    "invalid-target-ports": target_ports,
    "job-ttl-seconds-after-finished": job_ttl,
    "latest-tag": each(lambda one: re.search(r":latest$|^[^:]*$|/[^:@]+$", one["image"])),
    "liveness-port": probe("livenessProbe"),
    "mismatching-selector": mismatching_selector,
    "no-anti-affinity": anti_affinity,
    "no-extensions-v1beta": lambda objects: (
        f"{kind} {name}" for (kind, name), one in objects.items() if one["apiVersion"].startswith("extensions/v1beta")
    ),
    "no-read-only-root-fs": security(lambda one: not one.get("readOnlyRootFilesystem")),
    "non-existent-service-account": service_accounts,
    "pdb-max-unavailable": budgets(lambda budget, _: str(budget.get("maxUnavailable", 1)) in ("0", "0%")),
    "pdb-min-available": budgets(
        lambda budget, least: (
            budget.get("minAvailable", 0) == "100%"
            or (isinstance(budget.get("minAvailable"), int) and budget["minAvailable"] >= least)
        )
    ),
    "pdb-unhealthy-pod-eviction-policy": budgets(lambda budget, _: "unhealthyPodEvictionPolicy" not in budget),
    "privilege-escalation-container": security(lambda one: one.get("allowPrivilegeEscalation", True)),
    "privileged-container": security(lambda one: one.get("privileged")),
    "readiness-port": probe("readinessProbe"),
    "run-as-non-root": security(lambda one: not one.get("runAsNonRoot") or not one.get("runAsUser")),
    "sensitive-host-mounts": host_folders,
    "ssh-port": each(ssh_port),
    "startup-port": probe("startupProbe"),
    "unsafe-sysctls": pods(unsafe_sysctls),
    "unset-cpu-requirements": each(without("requests", "cpu")),
    "unset-memory-requirements": each(without("limits", "memory")),
}
