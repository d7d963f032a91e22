# SPDX-License-Identifier: Apache-2.0
"""A variant: one artifact, verified, in a program instance of its own, ready to run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway_server.artifacts import fingerprint, load_artifact
from slipway_server.artifacts.store import resolve
from slipway_server.config import Settings
from slipway_server.errors import ArtifactRequired
from slipway_server.runtime.fields import InputFields, output_names
from slipway_server.runtime.invoke import Invoke, invoker
from slipway_server.runtime.types import ArtifactInfo, VariantInfo

STABLE = "stable"
WHOLE_TRAFFIC_BPS = 10_000


@dataclass(frozen=True)
class Variant:
    """A slot and what serves in it. Replaced as a whole, never changed."""

    name: str
    program: Any
    artifact: ArtifactInfo
    fingerprint: str
    inputs: InputFields
    outputs: list[str]
    invoke: Invoke
    since: datetime

    def info(self) -> VariantInfo:
        """The facts for ArtifactService."""
        return VariantInfo(self.name, self.artifact, WHOLE_TRAFFIC_BPS, self.since)


def artifact_path(settings: Settings) -> Path | None:
    """The file to serve: SLIPWAY_ARTIFACT, or its current one where it is a store; None for an uncompiled program.

    Raises ArtifactRequired where nothing is named and SLIPWAY_ALLOW_UNCOMPILED is off, ArtifactMissing for a wrong one.
    """
    if settings.artifact is not None:
        return resolve(settings.artifact)
    if settings.allow_uncompiled:
        return None
    raise ArtifactRequired(
        "no artifact is named: set SLIPWAY_ARTIFACT (or --artifact) to a compiled file, "
        "or SLIPWAY_ALLOW_UNCOMPILED=1 to serve the program as it is"
    )


def build_variant(name: str, program_class: type[Any], settings: Settings, pool: ThreadPoolExecutor) -> Variant:
    """Verify and load the artifact into a fresh instance. Raises Artifact… errors."""
    path = artifact_path(settings)
    if path is None:
        program, info = program_class(), ArtifactInfo()
    else:
        loaded = load_artifact(path, program_class, settings=settings, digest=settings.artifact_digest)
        program, info = loaded.program, loaded.info
    return Variant(
        name=name,
        program=program,
        artifact=info,
        fingerprint=fingerprint(program),
        inputs=InputFields.of(program),
        outputs=output_names(program),
        invoke=invoker(program, pool),
        since=datetime.now(UTC),
    )
