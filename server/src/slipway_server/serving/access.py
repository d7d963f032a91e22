# SPDX-License-Identifier: Apache-2.0
"""The access log: one event per RPC, with what its receipt says."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from slipway_server.errors import CallerError, Code, FailureError, InternalError, OperatorError, SlipwayError
from slipway_server.request import RequestContext

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Entry:
    """What the log event is made of, besides the request's account."""

    response: Any = None


@contextmanager
def logged(method: str, scope: RequestContext, context: grpc.aio.ServicerContext) -> Iterator[Entry]:
    """Log the RPC when this block ends. An unexpected exception is logged whole and leaves as InternalError."""
    started = time.perf_counter()
    entry = Entry()
    code: str = grpc.StatusCode.OK.name
    failure: BaseException | None = None
    try:
        yield entry
    except asyncio.CancelledError:
        code = cancelled_code(context)
        raise
    except SlipwayError as error:
        code, failure = error.code, error
        raise
    except Exception as error:
        code, failure = Code.INTERNAL, error
        raise InternalError(f"an internal fault; the server's log has it under {scope.request_id}") from error
    finally:
        if log.isEnabledFor(_level(failure)):
            fields = _fields(scope, entry.response, failure)
            fields |= {"method": method, "code": str(code), "elapsed_seconds": round(time.perf_counter() - started, 4)}
            unexpected = None if isinstance(failure, SlipwayError) else failure
            log.log(_level(failure), "rpc", extra=fields, exc_info=unexpected)


def cancelled_code(context: grpc.aio.ServicerContext) -> str:
    """gRPC cancels a handler for both: the caller went, or its deadline passed."""
    remaining = context.time_remaining()
    expired = remaining is not None and remaining <= 0
    return grpc.StatusCode.DEADLINE_EXCEEDED.name if expired else grpc.StatusCode.CANCELLED.name


def _level(failure: BaseException | None) -> int:
    if failure is None or isinstance(failure, CallerError):
        return logging.INFO
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


def _fields(scope: RequestContext, response: Any, failure: BaseException | None) -> dict[str, object]:
    account = scope.account
    fields: dict[str, object] = {"request_id": scope.request_id}
    if isinstance(failure, SlipwayError):
        fields |= {"reason": failure.reason, "detail": failure.message}
        if cause := _cause(failure):
            fields["cause"] = cause
    receipt = getattr(response, "receipt", None)
    if receipt is not None:
        fields |= {"variant": receipt.variant, "artifact": receipt.artifact, "digest": receipt.artifact_digest}
    elif account.variant:
        fields["variant"] = account.variant
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
    return fields
