# SPDX-License-Identifier: Apache-2.0
"""The four calls that the loop makes to a Kubernetes API server, with the pod's own service account.

    with Cluster.inside() as cluster:
        cluster.create_job("slipway-recompile", "slipway-recompile-3f2a91c0", labels={…})   # False: it exists already
        cluster.create_config_map("slipway-candidate-3f2a91c0", data={…}, labels={…})
        cluster.event("ConfigMap", "slipway-candidate-3f2a91c0", "CandidatePublished", "…")

Creating an object whose name exists is no error but the protection against doing things twice: the API server keeps
names unique. Wire format: the Kubernetes API, batch/v1 and core v1.
"""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from slipway_server.errors import ClusterRefused, ConfigInvalid

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 30.0
COMPONENT = "slipway-loop"


class Cluster:
    """A client for one namespace. Close it, or use it as a context manager."""

    def __init__(self, base_url: str, namespace: str, token: str, verify: ssl.SSLContext | bool = True) -> None:
        self.namespace = namespace
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=base_url, headers=headers, verify=verify, timeout=TIMEOUT_SECONDS)

    @classmethod
    def inside(cls, account: Path = ACCOUNT, environ: Mapping[str, str] | None = None) -> Cluster:
        """From within a pod. Raises ConfigInvalid elsewhere."""
        environ = os.environ if environ is None else environ
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
        try:
            token, namespace = (account / "token").read_text().strip(), (account / "namespace").read_text().strip()
            if not host:
                raise FileNotFoundError
            verify = ssl.create_default_context(cafile=str(account / "ca.crt"))
        except OSError:
            raise ConfigInvalid(
                "this is no pod with a service account: --on-degraded job and --publish work inside a cluster only"
            ) from None
        address = f"[{host}]" if ":" in host else host
        return cls(f"https://{address}:{port}", namespace, token, verify)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def create_job(self, template: str, name: str, *, labels: Mapping[str, str]) -> bool:
        """Create the Job `name` from the (suspended) CronJob `template`; False where a Job of that name exists.

        As `kubectl create job --from=cronjob/…` does it. Raises ClusterRefused.
        """
        cron = self._call("GET", f"/apis/batch/v1/namespaces/{self.namespace}/cronjobs/{template}")
        job = cron["spec"]["jobTemplate"]
        kept = job.get("metadata", {})
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": template, "uid": cron["metadata"]["uid"]}
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "labels": {**kept.get("labels", {}), **labels},
                "annotations": {**kept.get("annotations", {}), "cronjob.kubernetes.io/instantiate": "manual"},
                "ownerReferences": [{**owner, "controller": True}],
            },
            "spec": job["spec"],
        }
        return self._create(f"/apis/batch/v1/namespaces/{self.namespace}/jobs", body)

    def create_config_map(
        self, name: str, *, data: Mapping[str, str], labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> bool:
        """Create an immutable ConfigMap; False where it exists. Raises ClusterRefused."""
        metadata = {"name": name, "labels": dict(labels), "annotations": dict(annotations)}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": dict(data)}
        return self._create(f"/api/v1/namespaces/{self.namespace}/configmaps", body)

    def event(self, kind: str, name: str, reason: str, message: str, *, warning: bool = False) -> None:
        """Write an Event about an object, for `kubectl describe` and `kubectl get events`. Raises ClusterRefused."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        api = "batch/v1" if kind in ("Job", "CronJob") else "v1"
        about = {"apiVersion": api, "kind": kind, "name": name, "namespace": self.namespace}
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name[:200]}.{uuid.uuid4().hex[:16]}"},
            "involvedObject": about,
            "reason": reason,
            "message": message[:1000],
            "type": "Warning" if warning else "Normal",
            "source": {"component": COMPONENT},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._create(f"/api/v1/namespaces/{self.namespace}/events", body)

    def _create(self, path: str, body: Mapping[str, Any]) -> bool:
        try:
            self._call("POST", path, body)
        except _AlreadyExists:
            return False
        return True

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        what = f"{method} {path.rpartition('/')[2] if method == 'POST' else path.split('/', 5)[-1]}"
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ClusterRefused(f"the API server does not answer ({what}: {type(error).__name__})") from None
        if response.status_code == httpx.codes.CONFLICT:
            raise _AlreadyExists(what)
        if response.is_error:
            raise ClusterRefused(f"{what}: {response.status_code}, {_message(response)}")
        found: dict[str, Any] = response.json()
        return found


class _AlreadyExists(Exception):
    """409 on a creation."""


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json().get("message", ""))[:300]
    except ValueError:
        return "no reason given"
