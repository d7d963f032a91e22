# SPDX-License-Identifier: Apache-2.0
"""The manifest of an artifact, its digest and the names of the two files."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, field_serializer

from slipway_server.artifacts.canonical import canonical

META_SUFFIX = ".meta.json"
GZIP_SUFFIX = ".gz"

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Revision(_Part):
    """The git commit that the program's code was at; `sha` is empty outside a repository."""

    sha: str = ""
    dirty: bool = False

    @property
    def label(self) -> str:
        """As file names have it: g1a2b3c4, g1a2b3c4-dirty or nogit."""
        return f"g{self.sha[:7]}{'-dirty' if self.dirty else ''}" if self.sha else "nogit"


class Dataset(_Part):
    """A file of examples. `digest`: sha256 of its bytes."""

    name: str
    digest: Hex
    examples: int


class Optimizer(_Part):
    """What compiled the program; `settings` are those that were given, not DSPy's defaults."""

    name: str
    settings: dict[str, JsonValue] = {}
    seed: int | None = None


class Model(_Part):
    """The LM that the program was compiled with."""

    name: str
    temperature: float | None = None
    max_tokens: int | None = None


class Retrieval(_Part):
    """What the program retrieved with; all empty for a program without retrieval."""

    k: int | None = None
    collection_version: str = ""
    embedder: str = ""


class Measured(_Part):
    """A program's score on a dev set: a mean between 0 and 1 with its 95 % interval. Costs are means per example."""

    score: float
    interval: tuple[float, float]
    n: int
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cost_usd: float | None = None
    latency_seconds: float | None = None


class Versions(_Part):
    """Of what wrote the artifact. `python` and `cloudpickle` are major.minor, as in DSPy's own metadata."""

    python: str
    dspy: str
    cloudpickle: str
    slipway: str


class Manifest(_Part):
    """Where an artifact comes from and what it is bound to; `save` fills in fingerprint, predictors and digest."""

    schema_version: Literal[1] = 1
    program: str
    fingerprint: str = ""
    predictors: dict[str, str] = {}
    """Predictor's name → its fields; the fingerprint is the hash of this."""
    created: AwareDatetime
    code: Revision = Revision()
    data: dict[str, Dataset] = {}
    """By use: train, dev."""
    optimizer: Optimizer
    lm: Model | None = None
    retrieval: Retrieval = Retrieval()
    metric: str = ""
    compiled: Measured | None = None
    uncompiled: Measured | None = None
    versions: Versions
    parent: str = ""
    """Digest of what this one was made from (adopt, migrate), or empty."""
    digest: str = ""
    signature: str = ""
    """Ed25519, base64, over the digest (signing.py); no part of the digest itself. Empty where not signed."""

    @field_serializer("created")
    def _created(self, value: datetime) -> str:
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def values(self) -> dict[str, Any]:
        """As JSON values, in the order above."""
        return self.model_dump(mode="json")


def digest_of(state: dict[str, Any], manifest: dict[str, Any]) -> str:
    """sha256, in hex, over the canonical JSON of both files; the manifest's `digest` and `signature` are left out."""
    stated = {key: value for key, value in manifest.items() if key not in ("digest", "signature")}
    return hashlib.sha256(canonical({"artifact": state, "manifest": stated})).hexdigest()


def name_of(artifact: Path) -> str:
    """`NAME` of `NAME.json` and of `NAME.json.gz`."""
    return artifact.name.removesuffix(GZIP_SUFFIX).removesuffix(".json")


def manifest_path(artifact: Path) -> Path:
    """`NAME.meta.json` for `NAME.json` and for `NAME.json.gz`."""
    return artifact.with_name(name_of(artifact) + META_SUFFIX)


def file_name(manifest: Manifest) -> str:
    """`rag-<yyyymmddThhmmZ>-g<sha7>[-dirty]-<metric>_<score>-<digest8>.json`, which may be the key of a ConfigMap."""
    program = _slug(manifest.program.rpartition(":")[2]).lower()
    when = manifest.created.astimezone(UTC).strftime("%Y%m%dT%H%MZ")
    score = f"{_slug(manifest.metric)}_{manifest.compiled.score:.3f}" if manifest.compiled else "unscored"
    return f"{program}-{when}-{manifest.code.label}-{score}-{manifest.digest[:8]}.json"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", ".", text).strip(".-") or "program"
