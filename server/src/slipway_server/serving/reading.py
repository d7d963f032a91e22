# SPDX-License-Identifier: Apache-2.0
"""How requests are read: what is too large is not parsed, and what is not a message has a typed error, too.

    read = reader(PredictRequest.FromString, limit_bytes=4 * 1024 * 1024)
    message = read(data)                 # a PredictRequest, or Unread with the error to raise

gRPC reads a message before any handler or interceptor sees the call, and answers what its deserializer raises with
UNKNOWN. A compact message also takes many times its size once parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from slipway_server.errors import CallerError, InputTooLarge, RequestInvalid


@dataclass(frozen=True, slots=True)
class Unread:
    """Stands for a request that was not read."""

    error: CallerError


def reader(parse: Callable[[bytes], Any], limit_bytes: int) -> Callable[[bytes], Any]:
    """`parse` for messages of up to `limit_bytes`; instead of raising, it returns an Unread."""

    def read(data: bytes) -> Any:
        if len(data) > limit_bytes:
            return Unread(too_large("request", len(data), limit_bytes))
        try:
            return parse(data)
        except DecodeError:
            return Unread(RequestInvalid("the request is not a message of this method; compare the .proto files"))

    return read


def too_large(what: str, size_bytes: int, limit_bytes: int) -> InputTooLarge:
    """The error of `what`, which has more bytes than it may."""
    return InputTooLarge(
        f"the {what} has {size_bytes} bytes; the limit is {limit_bytes}",
        size_bytes=str(size_bytes),
        limit_bytes=str(limit_bytes),
    )
