# SPDX-License-Identifier: Apache-2.0
"""What calls return: frozen, plain Python values. Times are in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that the program was given. `score`: higher is better, comparable within one collection only."""

    passage_id: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """What served a request, at what cost."""

    request_id: str
    program: str
    artifact: str
    """Name of the artifact; empty for an uncompiled program, as is the digest."""
    artifact_digest: str
    variant: str
    model: str
    """A name under offline/ says that no language model was used."""
    cache: str
    """Where the completions came from: miss, memory, disk, joined, memo or bypass; empty where not said."""
    lm_calls: int
    attempts: int
    waits_seconds: Mapping[str, float]
    """By kind: queue, pacing, retry, slot, cache_lease."""
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    collection_version: str
    citations: Sequence[Citation]
    elapsed_seconds: float
    server: str
    """Host name of the process that answered; in Kubernetes its pod. Empty from servers that do not say it yet."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A program's outputs by field."""

    outputs: Mapping[str, Any]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class RagAnswer:
    """An answer with what it rests on."""

    answer: str
    reasoning: str
    citations: Sequence[Citation]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled program's state; all empty for an uncompiled one."""

    name: str
    digest: str
    program: str
    metric: str
    score: float | None
    created: datetime | None
    current: bool


@dataclass(frozen=True, slots=True)
class Variant:
    """A named slot that serves one artifact. `weight_bps`: share of the traffic, in basis points."""

    name: str
    artifact: Artifact
    weight_bps: int
    serving_since: datetime | None
    refused_update: str


@dataclass(frozen=True, slots=True)
class Serving:
    """What the process that answered serves."""

    program: str
    fingerprint: str
    variants: Sequence[Variant]
    collection_version: str
    input_fields: Sequence[str]
    output_fields: Sequence[str]


@dataclass(frozen=True, slots=True)
class FeedbackStored:
    """`duplicate`: it had been stored before, nothing was changed."""

    duplicate: bool
