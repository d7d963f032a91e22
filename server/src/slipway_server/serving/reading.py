# SPDX-License-Identifier: Apache-2.0
"""How requests are read: when somebody asks for the message, so that what is wrong with it is a typed error, too.

    received = Received(data, PredictRequest.FromString, limit_bytes=4 * 1024 * 1024)
    received.message                     # a PredictRequest; raises InputTooLarge, RequestInvalid

gRPC has a message read before any handler sees the call, and answers what its deserializer raises with UNKNOWN. What is
too large is not parsed: a compact message takes many times its size then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from slipway_server.errors import InputTooLarge, RequestInvalid, SlipwayError
from slipway_server.request import RequestContext

Again = Callable[[RequestContext], bytes | None]
"""The serialized response for another, equal request; None where it has to be asked as if for the first time."""


class Received:
    """A request as it came. `again` answers it where an equal one was answered from memory: it need not be read."""

    __slots__ = ("_limit_bytes", "_message", "_parse", "again", "data")

    def __init__(
        self, data: bytes, parse: Callable[[bytes], Any], limit_bytes: int, again: Again | None = None
    ) -> None:
        self.data = data
        self.again = again
        self._parse = parse
        self._limit_bytes = limit_bytes
        self._message: Any = None

    @property
    def message(self) -> Any:
        """What `parse` makes of it. Raises InputTooLarge, or RequestInvalid for what is no message."""
        if self._message is None:
            if len(self.data) > self._limit_bytes:
                raise too_large("request", len(self.data), self._limit_bytes)
            try:
                self._message = self._parse(self.data)
            except DecodeError:
                text = "the request is not a message of this method; compare the .proto files"
                raise RequestInvalid(text) from None
        return self._message

    @property
    def request_id(self) -> str:
        """The message's own, if it has one and can be read. A request that comes again has none: ids are new."""
        if self.again is not None:
            return ""
        try:
            return getattr(self.message, "request_id", "")
        except SlipwayError:
            return ""


def too_large(what: str, size_bytes: int, limit_bytes: int) -> InputTooLarge:
    """The error of `what`, which has more bytes than it may."""
    return InputTooLarge(
        f"the {what} has {size_bytes} bytes; the limit is {limit_bytes}",
        size_bytes=str(size_bytes),
        limit_bytes=str(limit_bytes),
    )
