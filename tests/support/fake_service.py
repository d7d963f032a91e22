# SPDX-License-Identifier: Apache-2.0
"""A runtime without DSPy: echoes, waits or fails as its inputs say. As a script it is a whole server process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from slipway_server.errors import MethodUnsupported, SlipwayError
from slipway_server.request import Citation, RequestContext
from slipway_server.runtime.types import Answer, ArtifactInfo, Feedback, Receipt, Serving, VariantInfo
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.lifecycle import run, stop_on_signals
from slipway_server.telemetry import logs

CREATED = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ARTIFACT = ArtifactInfo("rag-a", "a" * 64, "tests:Echo", "exact-match", 0.75, CREATED, True)


@dataclass
class FakeService:
    """`inputs` decide: {"sleep_seconds": 0.1} waits, {"raise": "name"} raises from `failures`, the rest is echoed."""

    input_fields: Sequence[str] = ("question",)
    output_fields: Sequence[str] = ("reasoning", "answer")
    failures: dict[str, BaseException] = field(default_factory=dict)
    dry_runs: list[BaseException | None] = field(default_factory=list)
    """What the next dry runs raise; an empty list passes."""
    failing: list[BaseException] = field(default_factory=list)
    """What the next calls raise."""
    sleep_seconds: float = 0.0
    known: list[ArtifactInfo] = field(default_factory=lambda: [ARTIFACT])
    seen: list[tuple[Mapping[str, Any], RequestContext, str, str]] = field(default_factory=list)
    feedback: list[Feedback] | None = None
    """What was submitted; None offers no feedback."""
    cancelled: int = 0
    closed: bool = False

    async def predict(
        self, inputs: Mapping[str, Any], context: RequestContext, *, routing_key: str = "", pin: str = ""
    ) -> Answer:
        self.seen.append((inputs, context, routing_key, pin))
        account = context.account
        account.variant, account.artifact, account.artifact_digest = pin or "stable", ARTIFACT.name, ARTIFACT.digest
        if self.failing:
            raise self.failing.pop(0)
        if "raise" in inputs:
            raise self.failures[str(inputs["raise"])]
        try:
            await asyncio.sleep(float(inputs.get("sleep_seconds", self.sleep_seconds)))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        context.account.lm_calls += 1
        context.account.attempts += 2
        outputs = dict(inputs) | {"answer": f"echo {inputs.get('question', '')}".strip(), "reasoning": "it echoes"}
        return Answer(outputs, self._receipt(context, pin))

    def _receipt(self, context: RequestContext, pin: str) -> Receipt:
        return Receipt(
            request_id=context.request_id,
            program="tests:Echo",
            artifact=ARTIFACT.name,
            artifact_digest=ARTIFACT.digest,
            variant=pin or "stable",
            model="offline/echo",
            cache="miss",
            lm_calls=1,
            attempts=2,
            waits_seconds={"retry": 0.25},
            prompt_tokens=10,
            completion_tokens=3,
            cost_usd=None,
            collection_version="docs-1234abcd",
            citations=(Citation("p1", "A title", 0.5),),
            elapsed_seconds=0.125,
            server="pod-1",
        )

    def serving(self) -> Serving:
        variants = [VariantInfo("stable", ARTIFACT, 10_000, CREATED)]
        return Serving("tests:Echo", "f" * 64, variants, "docs-1234abcd", self.input_fields, self.output_fields)

    async def artifacts(self) -> Sequence[ArtifactInfo]:
        return self.known

    async def submit_feedback(self, feedback: Feedback) -> bool:
        if self.feedback is None:
            raise MethodUnsupported("no feedback here")
        known = any(item.feedback_id == feedback.feedback_id for item in self.feedback)
        if not known:
            self.feedback.append(feedback)
        return known

    async def dry_run(self) -> None:
        failure = self.dry_runs.pop(0) if self.dry_runs else None
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        self.closed = True


async def main(grpc_port: int, sleep_seconds: float, drain_seconds: float) -> None:
    """Serve until SIGTERM, and print the ports once ready."""
    logs.configure("info", "json")
    stop = asyncio.Event()
    config = ServingConfig(grpc_port=grpc_port, drain_seconds=drain_seconds, max_deadline_seconds=10)
    with stop_on_signals(stop):
        await run(
            FakeService(sleep_seconds=sleep_seconds),
            config,
            stop,
            lambda server: print(server.grpc_port, server.metrics_port, flush=True),  # noqa: T201
        )


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
    except SlipwayError as error:
        sys.exit(error.message)
