# SPDX-License-Identifier: Apache-2.0
"""Whether this process may be given requests: one state, seen by grpc.health.v1, by /ready and by admission.

readiness = Readiness(["slipway.v1.PredictionService"])
await readiness.close("dry run under way")    # NOT_SERVING, before the first port is open
await readiness.open()                        # SERVING
await readiness.drain()                       # NOT_SERVING for good
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckResponse

OVERALL = ""
"""The name under which grpc.health.v1 keeps the state of the whole server."""


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Readiness:
    """The state of one server, and its health servicer, where each service has a name besides the overall one."""

    def __init__(self, service_names: Iterable[str]) -> None:
        self.state = State.STARTING
        self.reason = "starting"
        """Why it is not ready, for people."""
        self.servicer = health.HealthServicer()
        self._names = (OVERALL, *service_names)

    def __repr__(self) -> str:
        return f"Readiness(state={self.state.value!r}, reason={self.reason!r})"

    async def close(self, reason: str) -> None:
        """Not ready yet, because of `reason`. The servicer itself begins as SERVING: call this before listening."""
        self.reason = reason
        await self._set(HealthCheckResponse.NOT_SERVING)

    async def open(self) -> None:
        """Ready, unless draining has begun."""
        if self.state is State.STARTING:
            self.state, self.reason = State.READY, ""
            await self._set(HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Not ready for good. Requests are still taken: clients need a moment to see it."""
        self.state, self.reason = State.DRAINING, "stopping"
        await self.servicer.enter_graceful_shutdown()

    async def _set(self, status: HealthCheckResponse.ServingStatus.ValueType) -> None:
        for name in self._names:
            await self.servicer.set(name, status)
