# SPDX-License-Identifier: Apache-2.0
"""What the accounts of the loop may do on a cluster, and Jobs that they must not create."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from cluster_release import NAME, Release
from kube import Refused

REEVALUATE, RECOMPILE = f"{NAME}-reevaluate", f"{NAME}-recompile"
ACCOUNTS = (REEVALUATE, RECOMPILE)
CREATABLE = ("pods", "jobs", "cronjobs", "configmaps", "secrets", "events", "deployments", "serviceaccounts", "roles")


def may(release: Release, account: str, verb: str, resource: str) -> bool:
    """What RBAC lets a service account do."""
    who = f"--as=system:serviceaccount:{release.namespace}:{account}"
    try:
        return release.kubectl("auth", "can-i", verb, resource, who).strip() == "yes"
    except Refused as refused:
        if not str(refused).rstrip().endswith("no"):
            raise
        return False


def created(release: Release, account: str, one: dict[str, Any]) -> str:
    """What the API server says to an account that creates an object, without making it: the reason, or nothing."""
    who = f"--as=system:serviceaccount:{release.namespace}:{account}"
    try:
        release.kubectl("create", "--filename=-", "--dry-run=server", who, input=json.dumps(one))
    except Refused as refused:
        return str(refused)
    return ""


def the_loop_s_job(release: Release) -> dict[str, Any]:
    """A Job as the loop makes it, for another artifact."""
    cron = release.kubectl.json("get", "cronjob", RECOMPILE)
    digest = "0" * 16
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": RECOMPILE, "uid": cron["metadata"]["uid"]}
    metadata = {
        "name": f"{RECOMPILE}-{digest}",
        "labels": {"slipway/artifact": digest, "slipway/window": "2026-11-20"},
        "ownerReferences": [{**owner, "controller": True}],
    }
    spec = cron["spec"]["jobTemplate"]["spec"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def forged_jobs(job: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Jobs that the account must not create, with a part of what the policy says."""

    def changed(*path: Any, to: Any) -> dict[str, Any]:
        one = deepcopy(job)
        within: Any = one
        for key in path[:-1]:
            within = within[key]
        within[path[-1]] = to
        return one

    yield "named after", changed("metadata", "name", to="other")
    yield "named after", changed("metadata", "labels", "slipway/artifact", to="1" * 16)
    yield "belongs to its CronJob", changed("metadata", "ownerReferences", to=[])
    yield "runs one pod, once", changed("spec", "parallelism", to=50)
    labels = {**job["spec"]["template"]["metadata"]["labels"], "app.kubernetes.io/component": "server"}
    yield "has the labels", changed("spec", "template", "metadata", "labels", to=labels)

    pod = ("spec", "template", "spec")
    spec = job["spec"]["template"]["spec"]
    one = spec["containers"][0]
    command, environment, secrets = "runs the image and the command", "has the environment", "reads the Secrets"
    yield command, changed(*pod, "serviceAccountName", to="default")
    yield command, changed(*pod, "initContainers", to=[{**one, "name": "first"}])
    yield command, changed(*pod, "containers", to=[one, {**one, "name": "second"}])
    for field, value in {"image": "localhost/other:1", "command": ["sh"], "args": ["-c", "env"]}.items():
        yield command, changed(*pod, "containers", 0, field, to=value)
    yield command, changed(*pod, "containers", 0, "lifecycle", to={"postStart": {"exec": {"command": ["env"]}}})
    elsewhere = {"name": "SLIPWAY_LM_BASE_URL", "value": "http://elsewhere/v1"}
    swapped = [elsewhere if each["name"] == elsewhere["name"] else each for each in one["env"]]
    given = {"secretRef": {"name": "provider"}}
    yield environment, changed(*pod, "containers", 0, "env", to=swapped)
    yield environment, changed(*pod, "containers", 0, "env", to=[*one["env"], {"name": "LD_PRELOAD", "value": "/x"}])
    yield environment, changed(*pod, "containers", 0, "env", to=one["env"][1:])
    yield environment, changed(*pod, "containers", 0, "envFrom", to=[given])
    volume = {"name": "stolen", "secret": {"secretName": "provider"}}
    yield secrets, changed(*pod, "volumes", to=[*spec["volumes"], volume])
    yield (
        secrets,
        changed(*pod, "volumes", 0, to={"name": spec["volumes"][0]["name"], "secret": {"secretName": "other"}}),
    )
    over = {"name": "data", "mountPath": "/opt/slipway/venv"}
    yield secrets, changed(*pod, "containers", 0, "volumeMounts", to=[*one["volumeMounts"], over])
    yield "no more rights", changed(*pod, "hostNetwork", to=True)
    yield "no more rights", changed(*pod, "containers", 0, "securityContext", "readOnlyRootFilesystem", to=False)
