# SPDX-License-Identifier: Apache-2.0
"""What happens around every RPC, as one list, outermost first. Health and reflection pass untouched."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from slipway_server import request as request_scope
from slipway_server.errors import (
    Code,
    DeadlineTooShort,
    InternalError,
    NotReady,
    RequestInvalid,
    ServerBusy,
    SlipwayError,
)
from slipway_server.request import RequestContext
from slipway_server.serving import access
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.readiness import Readiness, State
from slipway_server.serving.status import status
from slipway_server.telemetry import metrics

OUR_METHODS = "/slipway."
REQUEST_ID_KEY = "x-request-id"
ATTEMPTS_KEY = "grpc-previous-rpc-attempts"
MAX_REQUEST_ID_LENGTH = 128

log = logging.getLogger(__name__)

Behaviour = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]


def interceptors(config: ServingConfig, readiness: Readiness) -> list[grpc.aio.ServerInterceptor]:
    """The stack, outermost first."""
    return [
        ErrorStatus(),
        Measure(),
        RequestScope(config.max_deadline_seconds),
        Deadline(),
        Admission(config.max_concurrent_requests, readiness),
    ]


class UnaryInterceptor(grpc.aio.ServerInterceptor):
    """Base: subclasses say what happens `around` one unary call. A handler is wrapped once, not for every RPC."""

    def __init__(self) -> None:
        self._wrapped: dict[str, grpc.RpcMethodHandler] = {}

    async def around(self, method: str, inner: Behaviour, message: Any, context: grpc.aio.ServicerContext) -> Any:
        raise NotImplementedError

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        path: str = handler_call_details.method
        if handler is None or not path.startswith(OUR_METHODS):
            return handler
        if path not in self._wrapped:
            self._wrapped[path] = self._wrap(path, handler)
        return self._wrapped[path]

    def _wrap(self, path: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        method, inner = path.lstrip("/"), handler.unary_unary

        async def behaviour(message: Any, context: grpc.aio.ServicerContext) -> Any:
            return await self.around(method, inner, message, context)

        return grpc.unary_unary_rpc_method_handler(behaviour, handler.request_deserializer, handler.response_serializer)


class ErrorStatus(UnaryInterceptor):
    """Turns every exception into a status of the catalogue; the text of others never reaches a caller."""

    async def around(self, method: str, inner: Behaviour, message: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await inner(message, context)
        except grpc.aio.AbortError:
            raise
        except SlipwayError as error:
            failure = error
        except Exception:
            log.exception("interceptor failed", extra={"method": method})
            failure = InternalError("an internal fault; the server's log has it")
        code, text, trailers = status(failure, context.time_remaining())
        await context.abort(code, text, (*context.trailing_metadata(), *trailers))
        raise AssertionError("abort raises")


class Measure(UnaryInterceptor):
    """Duration by method and code, requests under way, repeated attempts, errors by reason."""

    async def around(self, method: str, inner: Behaviour, message: Any, context: grpc.aio.ServicerContext) -> Any:
        started = time.perf_counter()
        code = grpc.StatusCode.OK.name
        in_flight = metrics.RPC_IN_FLIGHT.labels(method)
        in_flight.inc()
        if any(key == ATTEMPTS_KEY for key, _ in context.invocation_metadata()):
            metrics.RPC_RETRIES_SEEN.labels(method).inc()
        try:
            return await inner(message, context)
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
            in_flight.dec()
            metrics.RPC_DURATION.labels(method, str(code)).observe(time.perf_counter() - started)


class RequestScope(UnaryInterceptor):
    """Gives the request its id, deadline and account, and leaves one log event about it.

    The id: the message's `request_id`, else the metadata `x-request-id`, else a new one. It goes back in the trailer.
    The deadline: the caller's, cut to the configured one, which also serves callers without any.
    """

    def __init__(self, max_deadline_seconds: float) -> None:
        super().__init__()
        self._max_deadline_seconds = max_deadline_seconds

    async def around(self, method: str, inner: Behaviour, message: Any, context: grpc.aio.ServicerContext) -> Any:
        given = getattr(message, "request_id", "") or dict(context.invocation_metadata()).get(REQUEST_ID_KEY, "")
        acceptable = _acceptable_id(given)
        scope = RequestContext(given if acceptable and given else uuid.uuid4().hex, self._deadline(context))
        context.set_trailing_metadata(((REQUEST_ID_KEY, scope.request_id),))
        with request_scope.opened(scope), access.logged(method, scope, context) as entry:
            if not acceptable:
                raise RequestInvalid(
                    f"request_id must be at most {MAX_REQUEST_ID_LENGTH} printable ASCII characters",
                    field="request_id",
                )
            entry.response = await inner(message, context)
            return entry.response

    def _deadline(self, context: grpc.aio.ServicerContext) -> float:
        remaining = context.time_remaining()
        limit = self._max_deadline_seconds
        return time.monotonic() + (limit if remaining is None else min(remaining, limit))


def _acceptable_id(given: object) -> bool:
    return isinstance(given, str) and len(given) <= MAX_REQUEST_ID_LENGTH and given.isascii() and given.isprintable()


class Deadline(UnaryInterceptor):
    """Ends what outlives its deadline, also where only the server's own limit has passed."""

    async def around(self, method: str, inner: Behaviour, message: Any, context: grpc.aio.ServicerContext) -> Any:
        remaining = request_scope.current().remaining_seconds()
        try:
            async with asyncio.timeout(remaining):
                return await inner(message, context)
        except TimeoutError:
            raise DeadlineTooShort("the deadline passed before there was an answer; allow more time") from None


class Admission(UnaryInterceptor):
    """Refuses at once, with a hint when to come back, what would only queue; and everything before the dry run."""

    RETRY_AFTER_SECONDS = 1.0

    def __init__(self, limit: int, readiness: Readiness) -> None:
        super().__init__()
        self._limit = limit
        self._readiness = readiness
        self._under_way = 0

    def __repr__(self) -> str:
        return f"Admission(under_way={self._under_way}, limit={self._limit}, {self._readiness!r})"

    async def around(self, method: str, inner: Behaviour, message: Any, context: grpc.aio.ServicerContext) -> Any:
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
            return await inner(message, context)
        finally:
            self._under_way -= 1

    def _hint(self) -> float:
        """Spread, so that those who were refused together do not come back together."""
        return self.RETRY_AFTER_SECONDS * random.uniform(0.5, 1.5)
