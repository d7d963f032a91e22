# SPDX-License-Identifier: Apache-2.0
"""A release of its own for a module of tests: namespace, volume, provider, corpus, artifacts, chart.

    with installed(cluster, "nodes", replicas=3, provider={"rpm": 6000, "latency_seconds": 1.0}) as release:
        load = release.callers.start("load", target=release.target, callers=20).running()
        release.upgrade("--set", "serving.replicas=6")
        release.ready()
        assert not load.stop().failed

The namespace enforces the restricted Pod Security Standard.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from charts import CHART
from cluster_release import NAME, SMALL, Cluster, Release, merged
from kube import account


class Install(Protocol):
    """`installed` on the cluster of the session."""

    def __call__(self, namespace: str, **options: Any) -> AbstractContextManager[Release]: ...


@contextmanager
def installed(
    cluster: Cluster,
    namespace: str,
    *,
    replicas: int = 3,
    provider: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    chart: Path = CHART,
    tool: str = Release.tool,
) -> Iterator[Release]:
    """Install the chart with artifact `a`, and take everything away in the end.

    `provider`: the simulator's behaviour. `values`: the chart's, besides what every release here has. `chart`: another
    version of it, packaged. `tool`: which Helm.
    """
    with tempfile.TemporaryDirectory() as folder:
        release = Release(cluster, namespace, Path(folder), provider or {})
        release.tool = tool
        try:
            _prepare(release)
            _install(release, replicas, values or {}, chart)
            yield release
        except Exception as failed:
            failed.add_note(account(release.kubectl))
            raise
        finally:
            cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
            cluster.kubectl("delete", "persistentvolume", namespace, "--ignore-not-found", "--wait=false")


def _prepare(release: Release) -> None:
    for kind in ("namespace", "persistentvolume"):  # of an earlier session on this cluster
        release.cluster.kubectl("delete", kind, release.namespace, "--ignore-not-found")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    meta = {"name": release.namespace, "labels": labels}
    release.cluster.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta}, *_volume(release))
    corpus = resources.files("slipway_server.demo").joinpath("corpus.jsonl").read_text("utf-8")
    release.kubectl.apply(
        _namespaced("v1", "ConfigMap", "documents", data={"corpus.jsonl": corpus}),
        _namespaced("v1", "Secret", "provider", stringData={"api-key": "sk-test"}),
        _namespaced(
            "v1",
            "PersistentVolumeClaim",
            "shared",
            spec={
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": release.cluster.storage_class,
                **({"volumeName": release.namespace} if release.cluster.local else {}),
            },
        ),
    )


def _namespaced(version: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def _volume(release: Release) -> list[dict[str, Any]]:
    """A volume on the shared file system of this machine's cluster; a given cluster has a storage class."""
    if release.cluster.local is None:
        return []
    spec = {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": "1Gi"},
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": release.cluster.local.volume(f"{release.namespace}-{time.time():.0f}")},
    }
    return [{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": release.namespace}, "spec": spec}]


def _install(release: Release, replicas: int, values: Mapping[str, Any], chart: Path) -> None:
    repository, _, tag = release.cluster.image.rpartition(":")
    behaviour = release.behaviour
    own: dict[str, Any] = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "program": {"path": "slipway_server.demo.program:Guide"},
        "lm": {"model": "openai/simulated", "endpoint": release.provider.endpoint, "existingSecret": "provider"},
        "variants": {"stable": {"artifact": "a"}},
        "ingest": {"enabled": True, "existingConfigMap": "documents", "resources": SMALL},
        "volume": {"mode": "existingClaim", "existingClaim": "shared"},
        "serving": {"replicas": replicas, "resources": SMALL},
        "verifyHook": {"resources": SMALL},
        "cacheGc": {"enabled": False},
    }
    if "rpm" in behaviour:
        own["lm"]["rpm"] = behaviour["rpm"]
        own["config"] = {"SLIPWAY_LM_BURST_SECONDS": behaviour.get("burst_seconds", 60)}
    file = release.folder / "values.yaml"
    file.write_text(json.dumps(merged(own, values)), "utf-8")
    # Without the hook: test_install and test_program have it verify what is installed, and every upgrade does.
    release.helm("install", str(chart), "--no-hooks", "--values", str(file), *release.files("a"))
    release.kubectl("create", "job", "first-ingest", f"--from=cronjob/{NAME}-ingest")
    release.provider.wait()
    release.ready()
