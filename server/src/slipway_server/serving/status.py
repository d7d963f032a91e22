# SPDX-License-Identifier: Apache-2.0
"""A SlipwayError as gRPC shows it: code, one line, google.rpc details and the trailers that drive a client's retries.

gRPC's own retries ignore RetryInfo and obey only the trailer `grpc-retry-pushback-ms` (gRPC proposal A6), readers of
rich errors (AIP-193) see only RetryInfo: both are sent. Every part is cut, because a peer refuses trailers beyond 8 KiB
and reports that instead of the error.
"""

from __future__ import annotations

from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from slipway_server.errors import DOMAIN, NEVER_RETRY, CallerError, OverloadError, SlipwayError
from slipway_server.serving.convert import duration

DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

MAX_MESSAGE_BYTES = 320
MAX_VALUE_BYTES = 64
MAX_METADATA_ENTRIES = 4


class Status(NamedTuple):
    """What ends an RPC: the arguments of `context.abort`."""

    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]


def status(error: SlipwayError, remaining_seconds: float | None = None) -> Status:
    """The status of `error`. `remaining_seconds`: the caller's time; a longer wait is not worth a retry."""
    code = grpc.StatusCode[error.code]
    message = _cut(error.message, MAX_MESSAGE_BYTES)
    rich = status_pb2.Status(code=code.value[0], message=message)
    for detail in _details(error, message):
        rich.details.append(_packed(detail))
    trailers: list[tuple[str, str | bytes]] = [(DETAILS_KEY, rich.SerializeToString())]
    pushback_ms = error.pushback_ms
    if pushback_ms is not None:
        if remaining_seconds is not None and pushback_ms >= remaining_seconds * 1000:
            pushback_ms = NEVER_RETRY
        trailers.append((PUSHBACK_KEY, str(pushback_ms)))
    return Status(code, message, tuple(trailers))


def _details(error: SlipwayError, message: str) -> list[Message]:
    facts = {key: _cut(value, MAX_VALUE_BYTES) for key, value in list(error.metadata.items())[:MAX_METADATA_ENTRIES]}
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts)]
    if error.retry_after_seconds is not None and error.retryable:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration(error.retry_after_seconds)))
    if isinstance(error, OverloadError):
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=facts.get("subject", error.reason), description=error.meaning
        )
        details.append(error_details_pb2.QuotaFailure(violations=[violation]))
    if isinstance(error, CallerError) and "field" in facts:
        field = error_details_pb2.BadRequest.FieldViolation(field=facts["field"], description=error.meaning)
        details.append(error_details_pb2.BadRequest(field_violations=[field]))
    return details


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _cut(text: str, limit_bytes: int) -> str:
    """One line of at most `limit_bytes` in UTF-8."""
    line = " ".join(text.split())
    encoded = line.encode("utf-8", "replace")
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    return encoded[: limit_bytes - 3].decode("utf-8", "ignore") + "…"
