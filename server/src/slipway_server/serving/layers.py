# SPDX-License-Identifier: Apache-2.0
"""What happens around every RPC, as one list, outermost first. Health and reflection pass untouched."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any

import grpc

from slipway_server import request as request_scope
from slipway_server.errors import (
    Code,
    DeadlineTooShort,
    InternalError,
    NotReady,
    ServerBusy,
    SlipwayError,
)
from slipway_server.request import RequestContext, new_request_id
from slipway_server.serving import access, identity
from slipway_server.serving.access import OK
from slipway_server.serving.begun import Begun
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.identity import ATTEMPTS_KEY, PIN_KEY, REQUEST_ID_KEY, metadata
from slipway_server.serving.methods import Behaviour, Layer
from slipway_server.serving.readiness import Readiness, State
from slipway_server.serving.reading import Received
from slipway_server.serving.repeats import Repeats
from slipway_server.serving.status import status
from slipway_server.telemetry import metrics

log = logging.getLogger(__name__)


def layers(config: ServingConfig, readiness: Readiness, repeats: Repeats) -> list[Layer]:
    """The stack, outermost first. What repeats answer neither waits nor fails."""
    return [
        repeats,
        ErrorStatus(),
        Measure(),
        RequestScope(config.max_deadline_seconds),
        Deadline(),
        Admission(config.max_concurrent_requests, readiness),
    ]


class ErrorStatus:
    """Turns every exception into a status of the catalogue; the text of others never reaches a caller."""

    def around(self, method: str, inner: Behaviour) -> Behaviour:
        async def behaviour(received: Received, context: grpc.aio.ServicerContext) -> Any:
            try:
                return await inner(received, context)
            except grpc.aio.AbortError:
                raise
            except SlipwayError as error:
                failure = error
            except Exception:
                log.exception("layer failed", extra={"method": method})
                failure = InternalError("an internal fault; the server's log has it")
            code, text, trailers = status(failure, context.time_remaining())
            await context.abort(code, text, (*context.trailing_metadata(), *trailers))
            raise AssertionError("abort raises")

        return behaviour


class Measure:
    """Duration by method and code, requests under way, errors by reason."""

    def around(self, method: str, inner: Behaviour) -> Behaviour:
        under_way = 0
        metrics.RPC_IN_FLIGHT.labels(method).set_function(lambda: under_way)

        async def behaviour(received: Received, context: grpc.aio.ServicerContext) -> Any:
            nonlocal under_way
            started = time.perf_counter()
            code = OK
            under_way += 1
            try:
                return await inner(received, context)
            except SlipwayError as error:
                code = error.code
                metrics.ERRORS.labels(error.reason).inc()
                raise
            except asyncio.CancelledError:
                code = access.cancelled_code(context)
                raise
            except BaseException:
                code = Code.INTERNAL
                raise
            finally:
                under_way -= 1
                metrics.RPC_DURATION.labels(method, str(code)).observe(time.perf_counter() - started)

        return behaviour


class RequestScope:
    """Gives the request its id, deadline and account, counts repeated attempts, and leaves one log event about it.

    The id: the message's `request_id`, else the metadata `x-request-id`, else a new one. It goes back in the trailer.
    The deadline: the caller's, cut to the configured one, which also serves callers without any.
    """

    def __init__(self, max_deadline_seconds: float) -> None:
        self._max_deadline_seconds = max_deadline_seconds

    def around(self, method: str, inner: Behaviour) -> Behaviour:
        async def behaviour(received: Received, context: grpc.aio.ServicerContext) -> Any:
            told: dict[str, Any] = dict(metadata.get())
            if ATTEMPTS_KEY in told:
                metrics.RPC_RETRIES_SEEN.labels(method).inc()
            given = identity.request_id(received.request_id, told)
            scope = RequestContext(given or new_request_id(), self._deadline(context), pin=told.get(PIN_KEY, ""))
            context.set_trailing_metadata(((REQUEST_ID_KEY, scope.request_id),))
            with request_scope.opened(scope), access.Logged(method, scope, context):
                if given is None:
                    raise identity.refused()
                return await inner(received, context)

        return behaviour

    def _deadline(self, context: grpc.aio.ServicerContext) -> float:
        remaining = context.time_remaining()
        limit = self._max_deadline_seconds
        return time.monotonic() + (limit if remaining is None else min(remaining, limit))


class Deadline:
    """Ends what outlives its deadline, also where only the server's own limit has passed.

    A timer is set once a call waits for something: what is answered from memory does not.
    """

    def around(self, method: str, inner: Behaviour) -> Behaviour:
        async def behaviour(received: Received, context: grpc.aio.ServicerContext) -> Any:
            begun = Begun(inner(received, context))
            if begun.done:
                return begun.result
            timer = asyncio.timeout(request_scope.current().remaining_seconds())
            try:
                async with timer:
                    return await begun
            except TimeoutError:
                if not timer.expired():
                    raise  # of something else: a fault
                raise DeadlineTooShort("the deadline passed before there was an answer; allow more time") from None

        return behaviour


class Admission:
    """Refuses at once, with a hint when to come back, what would only queue; and everything before the dry run."""

    RETRY_AFTER_SECONDS = 1.0

    def __init__(self, limit: int, readiness: Readiness) -> None:
        self._limit = limit
        self._readiness = readiness
        self._under_way = 0

    def __repr__(self) -> str:
        return f"Admission(under_way={self._under_way}, limit={self._limit}, {self._readiness!r})"

    def around(self, method: str, inner: Behaviour) -> Behaviour:
        async def behaviour(received: Received, context: grpc.aio.ServicerContext) -> Any:
            if self._readiness.state is State.STARTING:
                raise NotReady(f"the server is not ready: {self._readiness.reason}", retry_after_seconds=self._hint())
            if self._under_way >= self._limit:
                raise ServerBusy(
                    f"{self._under_way} requests are under way, as many as the server takes",
                    retry_after_seconds=self._hint(),
                    limit=str(self._limit),
                )
            self._under_way += 1
            try:
                return await inner(received, context)
            finally:
                self._under_way -= 1

        return behaviour

    def _hint(self) -> float:
        """Spread, so that those who were refused together do not come back together."""
        return self.RETRY_AFTER_SECONDS * random.uniform(0.5, 1.5)
