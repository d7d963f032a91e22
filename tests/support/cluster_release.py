# SPDX-License-Identifier: Apache-2.0
"""A release on the cluster: its artifacts, Helm's commands on it, its pods and what they say.

    release.upgrade("--set", "serving.replicas=6")
    release.ready()

Artifact `a` answers with phrases, as its demos show; `b` has no demos and answers with sentences.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from bad_artifacts import put, rewrite
from charts import CHART, TOOLS
from cluster_load import Callers
from cluster_provider import ClusterProvider
from kube import Kubectl, Local, eventually, run
from prometheus_client.parser import text_string_to_metric_families

from slipway_server.artifacts import manifest_path

RELEASE = "answers"
NAME = f"{RELEASE}-slipway"
READY_SECONDS = 240
SMALL = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


@dataclass(frozen=True)
class Cluster:
    """What tests are given: how to reach the cluster, the image's name, and, where it is this machine's, its script."""

    kubectl: Kubectl
    image: str
    local: Local | None = None
    storage_class: str = ""
    """For a cluster that was given: a class whose volumes several nodes can mount."""


class Release:
    """One installed release and what stands beside it in its namespace."""

    name = NAME
    tool = "helm4"
    """Which Helm; the other one is helm3."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path, provider: Mapping[str, Any]) -> None:
        self.namespace = namespace
        self.cluster = cluster
        self.kubectl = cluster.kubectl.within(namespace)
        self.target = f"{NAME}-headless.{namespace}.svc.cluster.local:50051"
        self.folder = folder
        self.behaviour = dict(provider)

    @cached_property
    def near(self) -> str:
        """The node where callers and provider run: that of the cluster's DNS, which is never cut off."""
        pods = self.cluster.kubectl.json("get", "pods", "--namespace=kube-system", "--selector=k8s-app=kube-dns")
        return str(pods["items"][0]["spec"]["nodeName"])

    @cached_property
    def provider(self) -> ClusterProvider:
        where = {"node": self.near, "wait": False}
        return ClusterProvider(self.kubectl, self.namespace, self.cluster.image, **where, **self.behaviour)

    @cached_property
    def callers(self) -> Callers:
        return Callers(self.kubectl, self.namespace, self.cluster.image)

    # ---- artifacts

    def artifact(self, name: str, folder: Path | None = None) -> Path:
        """A copy of artifact `a` or `b` in a folder, its manifest beside it."""
        path = (folder or self.folder) / f"guide-{name}.json"
        given = yaml.safe_load((CHART / "ci/default-values.yaml").read_text("utf-8"))["artifacts"]["v1"]
        path.write_text(given["state"], "utf-8")
        manifest_path(path).write_text(given["manifest"], "utf-8")
        if name == "b":
            rewrite(path, put("generate_answer.predict", "demos", to=[]), seal=True)
        return path

    def digest(self, name: str) -> str:
        """The content digest of `a` or `b`."""
        return str(json.loads(manifest_path(self.artifact(name)).read_text("utf-8"))["digest"])

    def files(self, name: str) -> tuple[str, str]:
        """Helm's option that gives the release an artifact."""
        path = self.artifact(name)
        return "--set-file", f"artifacts.{name}.state={path},artifacts.{name}.manifest={manifest_path(path)}"

    # ---- Helm

    def helm(self, command: str, *arguments: str) -> str:
        """A command of Helm on this release. Raises Refused."""
        where = ("--namespace", self.namespace)
        return run(str(TOOLS / self.tool), command, RELEASE, *arguments, *where, environ=self.kubectl.environ)

    def upgrade(self, *arguments: str) -> str:
        """helm upgrade, on top of the values that were given before. Raises Refused."""
        return self.helm("upgrade", str(CHART), "--reset-then-reuse-values", *arguments)

    def revision(self) -> int:
        """The number of the release's revision."""
        return int(json.loads(self.helm("status", "--output=json"))["version"])

    # ---- pods

    def ready(self) -> None:
        """Wait until the newest pods are all there and ready, and no other is left."""
        self.kubectl("rollout", "status", f"deployment/{NAME}", f"--timeout={READY_SECONDS}s")
        wanted = self.deployment()["spec"]["replicas"]
        eventually(lambda: len(self.pod_objects()) == wanted, "the old pods are gone")

    def deployment(self) -> dict[str, Any]:
        """The Deployment."""
        return dict(self.kubectl.json("get", "deployment", NAME))

    def pod_objects(self) -> list[dict[str, Any]]:
        """The server's pods."""
        selector = f"--selector=app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=server"
        return list(self.kubectl.json("get", "pods", selector)["items"])

    def pods(self) -> dict[str, str]:
        """Pods that are ready, and not on their way out, with their uids."""
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in self.pod_objects()
            if "deletionTimestamp" not in pod["metadata"] and condition(pod, "Ready")
        }

    def answered(self, pod: str) -> float:
        """RPCs that a pod has answered."""
        counts = self.metrics(pod).items()
        return sum(count for (name, _), count in counts if name == "slipway_rpc_duration_seconds_count")

    def shares(self) -> set[float]:
        """The candidate's share in basis points, as the pods have it: one, once all follow."""
        share = ("slipway_routing_weight_bps", ("candidate",))
        return {self.metrics(pod).get(share, 0) for pod in self.pods()}

    def seconds_to_ready(self, pod: str) -> float:
        """The time from the start of a pod's container until it counted as ready; Kubernetes keeps whole seconds."""
        status = self.kubectl.json("get", "pod", pod)["status"]
        ready = next(one["lastTransitionTime"] for one in status["conditions"] if one["type"] == "Ready")
        began = status["containerStatuses"][0]["state"]["running"]["startedAt"]
        return (datetime.fromisoformat(ready) - datetime.fromisoformat(began)).total_seconds()

    def cpu_seconds(self, pod: str) -> float:
        """What a pod's first process has worked since its start."""
        shell = "cat /proc/1/stat; getconf CLK_TCK"
        *_, after_name = self.kubectl("exec", pod, "--", "sh", "-c", shell).rpartition(")")
        words = after_name.split()
        return (int(words[11]) + int(words[12])) / int(words[-1])  # utime and stime: proc(5)

    def restarts(self) -> dict[str, int]:
        """How often each pod's container was started again."""
        return {
            pod["metadata"]["name"]: sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))
            for pod in self.pod_objects()
        }

    def last_words(self) -> str:
        """What the containers that ended printed last."""
        states = (
            state.get("terminated", {}).get("message", "")
            for pod in self.pod_objects()
            for one in pod["status"].get("containerStatuses", ())
            for state in (one["state"], one["lastState"])
        )
        return "\n".join(filter(None, states))

    def nodes_with_endpoints(self) -> set[str]:
        """The nodes whose pods callers are sent to."""
        selector = f"--selector=kubernetes.io/service-name={NAME}-headless"
        return {
            end["nodeName"]
            for part in self.kubectl.json("get", "endpointslices", selector)["items"]
            for end in part["endpoints"] or ()
            if end["conditions"]["ready"]
        }

    def node_ready(self, node: str) -> bool:
        """Whether the cluster sees a node."""
        return condition(self.cluster.kubectl.json("get", "node", node), "Ready")

    def metrics(self, pod: str) -> dict[tuple[str, tuple[str, ...]], float]:
        """A pod's metrics by name and label values, in the order of the labels' names."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}:9090/proxy/metrics"
        families = text_string_to_metric_families(self.kubectl("get", "--raw", path))
        return {
            (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }


def condition(thing: Mapping[str, Any], kind: str) -> bool:
    """Whether a pod or a node says that a condition of it holds."""
    return any(one["type"] == kind and one["status"] == "True" for one in thing["status"].get("conditions", ()))


Figures = dict[str, float]
"""What was measured, by what it is; the session prints them in the end."""


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values on top of values, as Helm lays them."""
    both = {key: merged(under[key], over[key]) for key in under.keys() & over.keys() if isinstance(over[key], dict)}
    return {**under, **over, **both}
