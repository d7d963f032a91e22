# SPDX-License-Identifier: Apache-2.0
"""What comes after a verdict: who recompiles, where a candidate goes, and the commands that make it live.

    start_job(cluster, template, report)                # a line that says what was begun
    publish(cluster, result, release)                   # the candidate's ConfigMap
    commands(result, release=…, namespace=…, chart=…)   # what a person runs then

Nothing here changes what is served: a person runs the printed commands, step by step.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slipway_server.artifacts import manifest_path
from slipway_server.artifacts.files import MAX_BYTES
from slipway_server.errors import ArtifactInvalid
from slipway_server.improve.kubernetes import Cluster
from slipway_server.improve.places import UNCOMPILED

NAME_LIMIT = 63
STEPS = ((1000, "10 %"), (5000, "50 %"))


def start_job(cluster: Cluster, template: str, report: Mapping[str, Any]) -> str:
    """Recompile in a Job of its own, made from the suspended CronJob `template` and named by the artifact's digest.

    `report`: as improve/findings.py makes it. Returns what was done, in words. Raises ClusterRefused.
    """
    digest = report["digest"][:16] or UNCOMPILED
    name = f"{template[: NAME_LIMIT - len(digest) - 1]}-{digest}"
    labels = {"slipway/artifact": digest, "slipway/window": report["recompile"]["window"]}
    if not cluster.create_job(template, name, labels=labels):
        return f"Job {name} exists already: this artifact is recompiled once; delete the Job to allow another run"
    cluster.event("Job", name, "QualityDegraded", report["reason"], warning=True)
    return f"Job {name} recompiles"


def publish(cluster: Cluster, result: Mapping[str, Any], release: str) -> str:
    """Publish a candidate as an immutable ConfigMap with an Event; returns the ConfigMap's name.

    Raises ArtifactInvalid where no ConfigMap holds it, ClusterRefused.
    """
    artifact, digest = Path(result["file"]), result["candidate"]["digest"]
    files = (artifact, manifest_path(artifact))
    if sum(path.stat().st_size for path in files) >= MAX_BYTES:
        raise ArtifactInvalid(
            f"{artifact.name}: larger than a ConfigMap may be; it is in {artifact.parent}: give it to the release by "
            f"its path on the volume (artifacts.NAME.path, with artifacts.NAME.digest={digest})"
        )
    name = config_map_name(release, digest)
    created = cluster.create_config_map(
        name,
        data={path.name: path.read_text("utf-8") for path in files},
        labels={
            "app.kubernetes.io/instance": release,
            "app.kubernetes.io/part-of": "slipway",
            "app.kubernetes.io/component": "candidate",
            "slipway/artifact": digest[:16],
            "slipway/parent": result["incumbent"]["digest"][:16],
        },
        annotations={"slipway/digest": digest, "slipway/gate": f"{result['verdict']}, {result['words']}"},
    )
    if created:
        cluster.event("ConfigMap", name, "CandidatePublished", f"{artifact.name}: gate {result['words']}")
    return name


def config_map_name(release: str, digest: str) -> str:
    """Of a candidate."""
    return f"{release[:40]}-candidate-{digest[:8]}"


def commands(result: Mapping[str, Any], *, release: str = "", namespace: str = "", chart: str = "") -> Sequence[str]:
    """What a person runs to take the candidate from 10 % to 50 % to stable: with Helm where a release is named."""
    return _helm(result, release, namespace, chart) if release else _local(result)


def _helm(result: Mapping[str, Any], release: str, namespace: str, chart: str) -> list[str]:
    digest = result["candidate"]["digest"]
    key, upgrade = (
        f"c{digest[:8]}",
        f"helm upgrade {release} {shlex.quote(chart)} -n {namespace} --reset-then-reuse-values",
    )
    named = {
        "existingConfigMap": config_map_name(release, digest),
        "name": Path(result["file"]).name.removesuffix(".json"),
        "digest": digest,
    }
    given = " ".join(f"--set-string artifacts.{key}.{name}={shlex.quote(value)}" for name, value in named.items())
    first, *more = [f"variants.candidate.weight={weight}  # {label}" for weight, label in STEPS]
    return [
        f"{upgrade} {given} --set variants.candidate.artifact={key} --set {first}",
        *(f"{upgrade} --set {step}" for step in more),
        f"{upgrade} --set variants.stable.artifact={key} --set variants.candidate.artifact= "
        "--set variants.candidate.weight=0  # stable",
    ]


def _local(result: Mapping[str, Any]) -> list[str]:
    path, digest = Path(result["file"]), result["candidate"]["digest"]
    first, *more = STEPS
    return [
        f"SLIPWAY_CANDIDATE_ARTIFACT={shlex.quote(str(path))} SLIPWAY_CANDIDATE_WEIGHT_BPS={first[0]} slipway serve"
        f"  # {first[1]}",
        *(f"""echo '{{"candidate": {w}}}' > "$SLIPWAY_ROUTING_DIR/routing.json"  # {label}""" for w, label in more),
        f"slipway artifact promote {digest[:8]} --store {shlex.quote(str(path.parent))}  # stable",
    ]
