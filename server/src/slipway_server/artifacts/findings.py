# SPDX-License-Identifier: Apache-2.0
"""What checks of an artifact look at, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import dspy

from slipway_server.artifacts.manifest import Manifest
from slipway_server.config import Settings
from slipway_server.errors import ArtifactInvalid, OperatorError


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


@dataclass(frozen=True, slots=True)
class Served:
    """The settings that an artifact is about to be served with; None where not known."""

    k: int | None = None
    collection_version: str | None = None
    embedder: str | None = None
    model: str | None = None
    temperature: float | None = None

    @classmethod
    def from_settings(cls, settings: Settings, *, collection_version: str = "", embedder: str = "") -> Served:
        """What `settings` say; collection and embedder are known once the collection is open."""
        return cls(
            k=settings.retrieval_k,
            collection_version=collection_version or None,
            embedder=embedder or None,
            model=settings.lm_model,
            temperature=settings.lm_temperature,
        )


@dataclass(slots=True)
class Subject:
    """What the checks look at. `state` and the two manifests are set by the first stage; later ones rely on them."""

    path: Path
    program: dspy.Module
    state_bytes: bytes
    manifest_bytes: bytes
    expected_digest: str | None = None
    served: Served = field(default_factory=Served)
    state: dict[str, Any] = field(default_factory=dict)
    raw_manifest: dict[str, Any] = field(default_factory=dict)
    manifest: Manifest = field(init=False)


Check = Callable[[Subject], Iterator[Finding]]
