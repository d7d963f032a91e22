# SPDX-License-Identifier: Apache-2.0
"""The shadow: an artifact that runs on a sample of the traffic, at batch priority, and never answers.

shadow = Shadow(run)
shadow.start(variant, inputs, request_id)       # returns at once
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from slipway_server import request
from slipway_server.errors import SlipwayError
from slipway_server.request import RequestContext, TrafficClass
from slipway_server.runtime.variants import Variant
from slipway_server.telemetry import metrics

MAX_UNDER_WAY = 16
"""More than these are dropped: a shadow must not queue up behind its own budget."""

DEADLINE_SECONDS = 300.0

log = logging.getLogger(__name__)

Run = Callable[[Variant, dict[str, Any], RequestContext], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class ShadowRun:
    """A shadow run that succeeded. `routing_key`: of the request that it shadows."""

    variant: Variant
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    context: RequestContext
    routing_key: str
    elapsed_seconds: float


Sink = Callable[[ShadowRun], None]
"""Takes what a shadow answered; must not block."""


class Shadow:
    """Runs shadow requests in tasks of its own. `sink` records what they answer."""

    def __init__(self, run: Run, sink: Sink | None = None) -> None:
        self._run = run
        self._sink = sink
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, variant: Variant, inputs: dict[str, Any], request_id: str, routing_key: str = "") -> None:
        """Run one request in the background, or drop it where too many are under way."""
        if len(self._tasks) >= MAX_UNDER_WAY:
            metrics.SHADOW_RUNS.labels("dropped").inc()
            return
        task = asyncio.create_task(self._one(variant, inputs, request_id, routing_key), name="slipway-shadow")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self, variant: Variant, inputs: dict[str, Any], request_id: str, routing_key: str) -> None:
        started = time.monotonic()
        context = RequestContext(request_id, deadline=started + DEADLINE_SECONDS, traffic_class=TrafficClass.BATCH)
        try:
            with request.opened(context):
                outputs = await self._run(variant, inputs, context)
        except SlipwayError as error:
            metrics.SHADOW_RUNS.labels("failed").inc()
            log.info("shadow failed", extra={"request_id": request_id, "reason": error.reason})
            return
        metrics.SHADOW_RUNS.labels("answered").inc()
        if self._sink is not None:
            self._sink(ShadowRun(variant, inputs, outputs, context, routing_key, time.monotonic() - started))
