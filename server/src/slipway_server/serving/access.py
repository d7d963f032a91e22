# SPDX-License-Identifier: Apache-2.0
"""The access log: one event per RPC, with what it cost and who served it."""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType

import grpc

from slipway_server.errors import (
    CallerError,
    Code,
    DeadlineTooShort,
    FailureError,
    InternalError,
    OperatorError,
    SlipwayError,
)
from slipway_server.request import RequestContext

OK: str = grpc.StatusCode.OK.name

log = logging.getLogger(__name__)


class Logged:
    """Around one RPC: logs it when the block ends.

    An unexpected exception is logged whole, and leaves as InternalError.
    """

    __slots__ = ("_context", "_method", "_scope", "_started")

    def __init__(self, method: str, scope: RequestContext, context: grpc.aio.ServicerContext) -> None:
        self._method = method
        self._scope = scope
        self._context = context
        self._started = time.perf_counter()

    def __enter__(self) -> Logged:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        failure = error if isinstance(error, Exception) else None  # others: cancelled, or the process ends
        level = _level(failure)
        if log.isEnabledFor(level):
            fields = _fields(self._method, self._scope, self._code(error), self._started, failure)
            log.log(level, "rpc", extra=fields, exc_info=None if isinstance(failure, SlipwayError) else failure)
        if failure is not None and not isinstance(failure, SlipwayError):
            text = f"an internal fault; the server's log has it under {self._scope.request_id}"
            raise InternalError(text) from failure

    def _code(self, error: BaseException | None) -> str:
        if error is None:
            return OK
        if isinstance(error, asyncio.CancelledError):
            return cancelled_code(self._context)
        return str(error.code if isinstance(error, SlipwayError) else Code.INTERNAL)


def log_answer(method: str, scope: RequestContext, started: float) -> None:
    """Log a call that was answered without waiting. `started`: by time.perf_counter()."""
    log.info("rpc", extra=_fields(method, scope, OK, started))


def cancelled_code(context: grpc.aio.ServicerContext) -> str:
    """gRPC cancels a handler for both: the caller went, or its deadline passed."""
    remaining = context.time_remaining()
    expired = remaining is not None and remaining <= 0
    return grpc.StatusCode.DEADLINE_EXCEEDED.name if expired else grpc.StatusCode.CANCELLED.name


def _level(failure: BaseException | None) -> int:
    if failure is None or isinstance(failure, CallerError):
        return logging.INFO
    if isinstance(failure, DeadlineTooShort):  # the caller's choice, or a provider that is slow
        return logging.WARNING
    if not isinstance(failure, SlipwayError) or isinstance(failure, OperatorError | FailureError):
        return logging.ERROR
    return logging.WARNING


def _cause(failure: SlipwayError) -> str | None:
    """The exception behind an expected error, by type only: its text may hold a user's words."""
    link, seen = failure.__cause__, {id(failure)}
    while link is not None and link.__cause__ is not None and id(link) not in seen:  # causes may go in a circle
        seen.add(id(link))
        link = link.__cause__
    return None if link is None else type(link).__name__


def _fields(
    method: str, scope: RequestContext, code: str, started: float, failure: BaseException | None = None
) -> dict[str, object]:
    elapsed_seconds = round(time.perf_counter() - started, 4)
    account = scope.account
    fields: dict[str, object] = {"request_id": scope.request_id}
    if isinstance(failure, SlipwayError):
        fields |= {"reason": failure.reason, "detail": failure.message}
        if cause := _cause(failure):
            fields["cause"] = cause
    if account.variant:
        fields |= {"variant": account.variant, "artifact": account.artifact, "digest": account.artifact_digest}
    costs = {
        "lm_calls": account.lm_calls,
        "attempts": account.attempts,
        "cache": dict(account.cache_tiers),
        "prompt_tokens": account.prompt_tokens,
        "completion_tokens": account.completion_tokens,
        "waits_seconds": {kind: round(seconds, 4) for kind, seconds in account.waits_seconds.items()},
        "spent_seconds": {kind: round(seconds, 4) for kind, seconds in account.spent_seconds.items()},
    }
    fields |= {name: cost for name, cost in costs.items() if cost}
    return fields | {"method": method, "code": code, "elapsed_seconds": elapsed_seconds}
