# SPDX-License-Identifier: Apache-2.0
"""A variant: one artifact, verified, in a program instance of its own, ready to run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway_server.artifacts import Manifest, Served, Store, fingerprint, load, resolve
from slipway_server.config import Settings
from slipway_server.errors import ArtifactRequired, ProgramInvalid, SlipwayError
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
        program, info = new_program(program_class), ArtifactInfo()
    else:
        served = Served.from_settings(settings)
        loaded = load(path, lambda: new_program(program_class), digest=settings.artifact_digest, served=served)
        program, info = loaded.program, artifact_info(loaded.name, loaded.manifest)
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


def new_program(program_class: type[Any]) -> Any:
    """A fresh instance. Raises ProgramInvalid where its constructor fails."""
    try:
        return program_class()
    except SlipwayError:
        raise
    except Exception as error:
        name = program_class.__qualname__
        raise ProgramInvalid(
            f"{name}() failed with {type(error).__name__}: {error}; it must need no arguments"
        ) from error


def artifact_info(name: str, manifest: Manifest, *, current: bool = False) -> ArtifactInfo:
    """The facts of a manifest that callers see."""
    return ArtifactInfo(
        name=name,
        digest=manifest.digest,
        program=manifest.program,
        metric=manifest.metric,
        score=manifest.compiled.score if manifest.compiled else None,
        created=manifest.created,
        current=current,
    )


def known_artifacts(settings: Settings) -> list[ArtifactInfo]:
    """The artifacts of the store that SLIPWAY_ARTIFACT names or lies in, newest first."""
    if settings.artifact is None:
        return []
    folder = settings.artifact if settings.artifact.is_dir() else settings.artifact.parent
    return [artifact_info(entry.name, entry.manifest, current=entry.current) for entry in Store(folder).list()]
