# SPDX-License-Identifier: Apache-2.0
"""The provider simulator as a Deployment and a Service, and its ledger read from outside the cluster.

    provider = ClusterProvider(kubectl, "search", image, rpm=600, burst_seconds=6, latency_seconds=0.2)
    …values: lm.endpoint = provider.endpoint…
    provider.reset()
    assert provider.summary()["requests"] == 1

The keys are those of the simulator's behaviour (docs/simulator.md). It is reached through the API server's proxy.
"""

from __future__ import annotations

import json
from typing import Any

from cluster_load import Kubectl, restricted

from slipway_server.simulate import Entry

NAME = "provider"
PORT = 8089
START_SECONDS = 120


class ClusterProvider:
    """Starts the simulator, and waits until it is there unless told not to."""

    def __init__(
        self, kubectl: Kubectl, namespace: str, image: str, *, node: str = "", wait: bool = True, **behaviour: Any
    ) -> None:
        self._kubectl = kubectl
        self._where = ("--namespace", namespace)
        self.endpoint = f"http://{NAME}.{namespace}.svc:{PORT}/v1"
        self._path = f"/api/v1/namespaces/{namespace}/services/{NAME}:{PORT}/proxy"
        objects = provider_objects(namespace, image, behaviour, node)
        kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it answers."""
        self._kubectl("rollout", "status", f"deployment/{NAME}", f"--timeout={START_SECONDS}s", *self._where)

    def ledger(self) -> list[Entry]:
        """Every request that reached it since the last reset, at most 200,000."""
        return [Entry(**entry) for entry in json.loads(self._kubectl("get", "--raw", f"{self._path}/ledger"))]

    def summary(self) -> dict[str, Any]:
        """Counts: requests, statuses, outcomes, tokens."""
        return dict(json.loads(self._kubectl("get", "--raw", f"{self._path}/ledger/summary")))

    def configure(self, **changes: Any) -> None:
        """Change its behaviour from now on."""
        self._post("configure", changes)

    def reset(self) -> None:
        """An empty ledger and full quotas."""
        self._post("reset", {})

    def _post(self, action: str, body: dict[str, Any]) -> None:
        self._kubectl("create", "--raw", f"{self._path}/admin/{action}", "-f", "-", input=json.dumps(body))


def provider_objects(namespace: str, image: str, behaviour: dict[str, Any], node: str = "") -> list[dict[str, Any]]:
    """The Deployment and the Service."""
    settings = [f"--set={key}={value}" for key, value in behaviour.items()]
    container = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["slipway", "simulate-provider", "--host=0.0.0.0", f"--port={PORT}", *settings],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/v1/models", "port": PORT}, "periodSeconds": 1},
        "env": [{"name": "DSPY_CACHEDIR", "value": "/tmp/cache"}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    on = {"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}
    spec = restricted(container, volumes=[{"name": "tmp", "emptyDir": {}}], terminationGracePeriodSeconds=1, **on)
    metadata = {"name": NAME, "namespace": namespace}
    labels = {"app": NAME}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": PORT, "targetPort": PORT}]},
        },
    ]
