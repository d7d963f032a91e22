# SPDX-License-Identifier: Apache-2.0
"""A variant: one artifact, verified, in a program instance of its own, ready to run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway_server.artifacts import Manifest, Served, Store, fingerprint, load, resolve
from slipway_server.artifacts.manifest import Retrieval
from slipway_server.config import Settings
from slipway_server.errors import ArtifactRequired, ProgramInvalid, SlipwayError
from slipway_server.runtime.fields import InputFields, output_names
from slipway_server.runtime.invoke import Invoke, invoker
from slipway_server.runtime.types import ArtifactInfo, VariantInfo

STABLE, CANDIDATE, SHADOW = "stable", "candidate", "shadow"


@dataclass(frozen=True)
class Source:
    """Where a variant's artifact comes from. `path` None is the program as it is, uncompiled."""

    name: str
    path: Path | None
    digest: str | None = None


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
    compiled_with: Retrieval = field(default_factory=Retrieval)

    def info(self, weight_bps: int, refused_update: str) -> VariantInfo:
        """The facts for ArtifactService."""
        return VariantInfo(self.name, self.artifact, weight_bps, self.since, refused_update)


def sources(settings: Settings) -> list[Source]:
    """The variants that the settings name, stable first.

    Raises ArtifactRequired where stable has none and SLIPWAY_ALLOW_UNCOMPILED is off.
    """
    if settings.artifact is None and not settings.allow_uncompiled:
        raise ArtifactRequired(
            "no artifact is named: set SLIPWAY_ARTIFACT (or --artifact) to a compiled file, "
            "or SLIPWAY_ALLOW_UNCOMPILED=1 to serve the program as it is"
        )
    named = [Source(STABLE, settings.artifact, settings.artifact_digest)]
    if settings.candidate_artifact is not None:
        named.append(Source(CANDIDATE, settings.candidate_artifact, settings.candidate_artifact_digest))
    if settings.shadow_artifact is not None:
        named.append(Source(SHADOW, settings.shadow_artifact, settings.shadow_artifact_digest))
    return named


def build_variant(source: Source, program_class: type[Any], settings: Settings, pool: ThreadPoolExecutor) -> Variant:
    """Verify and load the artifact into a fresh instance. Raises Artifact… errors, ProgramInvalid."""
    if source.path is None:
        program, info, compiled_with = new_program(program_class), ArtifactInfo(), Retrieval()
    else:
        served = Served.from_settings(settings)
        path = resolve(source.path)
        loaded = load(path, lambda: new_program(program_class), digest=source.digest, served=served)
        program, info = loaded.program, artifact_info(loaded.name, loaded.manifest)
        compiled_with = loaded.manifest.retrieval
    return Variant(
        name=source.name,
        program=program,
        artifact=info,
        fingerprint=fingerprint(program),
        inputs=InputFields.of(program),
        outputs=output_names(program),
        invoke=invoker(program, pool),
        since=datetime.now(UTC),
        compiled_with=compiled_with,
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
