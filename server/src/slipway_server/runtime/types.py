# SPDX-License-Identifier: Apache-2.0
"""What the servicers see of the runtime: plain values, no DSPy and no gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from slipway_server.cache.memory import Form
from slipway_server.request import Citation, RequestContext


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a response says about itself. Fields as in proto/slipway/v1/receipt.proto; times in seconds."""

    request_id: str
    program: str
    artifact: str
    artifact_digest: str
    variant: str
    model: str
    cache: str
    """miss, memory, disk, joined, memo or bypass."""
    lm_calls: int
    attempts: int
    waits_seconds: Mapping[str, float]
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    collection_version: str
    citations: Sequence[Citation]
    elapsed_seconds: float
    server: str = ""
    """Host name; in Kubernetes the pod's name."""


class Own(NamedTuple):
    """What a receipt says of its request alone: the rest is the same in all receipts of a remembered answer."""

    request_id: str
    artifact: str
    variant: str
    elapsed_seconds: float


class Answer:
    """A program's outputs by field (JSON values) and the receipt.

    Where it was remembered, `again` answers another request with the same inputs, routing key and pin from memory; None
    from it says that this one has to be asked for as if for the first time.
    """

    own: Own
    again: Repeat | None = None

    def __init__(self, outputs: Mapping[str, Any], receipt: Receipt) -> None:
        self._outputs = outputs
        self._receipt = receipt
        self.own = Own(receipt.request_id, receipt.artifact, receipt.variant, receipt.elapsed_seconds)

    @property
    def outputs(self) -> Mapping[str, Any]:
        """By field."""
        return self._outputs

    @property
    def receipt(self) -> Receipt:
        """The whole receipt."""
        return self._receipt

    def form(self, name: str) -> Form | None:
        """What was kept under this name for this answer, by an earlier request: of remembered answers only."""
        return None

    def keep(self, name: str, form: Form) -> None:
        """Keep what a servicer made of the answer, without what is `own`, for as long as the answer is remembered."""


Repeat = Callable[[RequestContext], Answer | None]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What an end user thought of an answer. Fields as in feedback.proto. `rating`: good, bad or empty."""

    feedback_id: str
    request_id: str
    rating: str = ""
    comment: str = ""
    correct_outputs: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    artifact_digest: str = ""
    routing_key: str = ""


class Recorder(Protocol):
    """Told of every answer; must neither block nor raise."""

    def __call__(
        self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], receipt: Receipt, routing_key: str = ""
    ) -> None: ...


TakeFeedback = Callable[[Feedback], Awaitable[bool]]
"""Stores feedback; returns whether it was stored before."""


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """Facts of one artifact; all empty for an uncompiled program."""

    name: str = ""
    digest: str = ""
    program: str = ""
    metric: str = ""
    score: float | None = None
    created: datetime | None = None
    current: bool = False


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """A slot as this process serves it now."""

    name: str
    artifact: ArtifactInfo
    weight_bps: int
    serving_since: datetime
    refused_update: str = ""


@dataclass(frozen=True, slots=True)
class Serving:
    """What this process serves."""

    program: str
    fingerprint: str
    variants: Sequence[VariantInfo]
    collection_version: str
    input_fields: Sequence[str]
    output_fields: Sequence[str]


class Service(Protocol):
    """The runtime as the servicers use it. Every failure is a SlipwayError, or asyncio.CancelledError."""

    async def predict(
        self, inputs: Mapping[str, Any], context: RequestContext, *, routing_key: str = "", pin: str = ""
    ) -> Answer:
        """Run the program once. `context` bounds it and collects its cost."""
        ...

    def serving(self) -> Serving:
        """What is served now."""
        ...

    async def artifacts(self) -> Sequence[ArtifactInfo]:
        """The artifacts of the store that this process was given, newest first."""
        ...

    async def submit_feedback(self, feedback: Feedback) -> bool:
        """Store what an end user thought; returns whether it was stored before. Raises MethodUnsupported."""
        ...

    async def dry_run(self) -> None:
        """Run every variant once; raises a SlipwayError where the deployment cannot answer."""
        ...

    async def aclose(self) -> None:
        """Release everything; requests under way must have ended."""
        ...
