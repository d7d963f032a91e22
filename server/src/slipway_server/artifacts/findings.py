# SPDX-License-Identifier: Apache-2.0
"""What checks of an artifact look at, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import dspy

from slipway_server.artifacts import provenance
from slipway_server.artifacts.files import MAX_BYTES, Pair
from slipway_server.artifacts.manifest import Manifest, Revision
from slipway_server.config import Settings
from slipway_server.errors import ArtifactForeign, ArtifactInvalid, ConfigInvalid, OperatorError

RECOMPILE = "compile again with this code, or serve the code that it was compiled with"
RESTORE = "take the file again from where it was built"


class Severity(StrEnum):
    """An error refuses the artifact; a warning and a note do not."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw. `code` is lower-kebab-case and stays; `raises` is what an error becomes when loading."""

    severity: Severity
    code: str
    message: str
    remedy: str = ""
    raises: type[OperatorError] = ArtifactInvalid


def error(code: str, message: str, remedy: str) -> Finding:
    """The file is not what it should be."""
    return Finding(Severity.ERROR, code, message, remedy, ArtifactInvalid)


def foreign(code: str, message: str) -> Finding:
    """The file is of another program."""
    return Finding(Severity.ERROR, code, message, RECOMPILE, ArtifactForeign)


def warning(code: str, message: str, remedy: str) -> Finding:
    """It works, though perhaps not as it was measured."""
    return Finding(Severity.WARNING, code, message, remedy)


def note(code: str, message: str, remedy: str = "") -> Finding:
    """Good to know."""
    return Finding(Severity.NOTE, code, message, remedy)


@dataclass(frozen=True, slots=True)
class Served:
    """The settings that an artifact is about to be served with; None where not known."""

    k: int | None = None
    collection_version: str | None = None
    embedder: str | None = None
    model: str | None = None
    temperature: float | None = None
    code: Revision | None = None
    public_key: str | None = None
    """PEM; with one, the artifact must be signed by it."""
    max_bytes: int = MAX_BYTES
    """Of both files together; more than a ConfigMap holds where artifacts lie on a volume."""

    @classmethod
    def from_settings(cls, settings: Settings, *, collection_version: str = "", embedder: str = "") -> Served:
        """What `settings` say; collection and embedder are known once the collection is open.

        Raises ConfigInvalid where the file of the public key cannot be read.
        """
        return cls(
            k=settings.retrieval_k,
            collection_version=collection_version or None,
            embedder=embedder or None,
            model=settings.lm_model,
            temperature=settings.lm_temperature,
            code=Revision(sha=settings.code_revision) if settings.code_revision else provenance.running_revision(),
            public_key=_public_key(settings),
            max_bytes=settings.artifact_max_bytes,
        )


@dataclass(slots=True)
class Subject:
    """What the checks look at. `state` and the two manifests are set by the first stage; later ones rely on them."""

    path: Path
    program: dspy.Module
    pair: Pair
    expected_digest: str | None = None
    served: Served = field(default_factory=Served)
    state: dict[str, Any] = field(default_factory=dict)
    raw_manifest: dict[str, Any] = field(default_factory=dict)
    manifest: Manifest = field(init=False)


def _public_key(settings: Settings) -> str | None:
    if settings.artifact_public_key_file is None:
        return settings.artifact_public_key
    try:
        return settings.artifact_public_key_file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise ConfigInvalid(
            f"SLIPWAY_ARTIFACT_PUBLIC_KEY_FILE: no key can be read from {settings.artifact_public_key_file}",
            key="SLIPWAY_ARTIFACT_PUBLIC_KEY_FILE",
        ) from None


Check = Callable[[Subject], Iterator[Finding]]
