# SPDX-License-Identifier: Apache-2.0
"""What a call's metadata says about it, and the id that it has.

told = dict(identity.metadata.get())                            # in the task that handles the call
request_id = identity.request_id(received.request_id, told)     # None: not acceptable
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from slipway_server.errors import RequestInvalid
from slipway_server.request import new_request_id

Metadata = Sequence[tuple[str, str | bytes]]

metadata: ContextVar[Metadata] = ContextVar("slipway_metadata", default=())
"""The metadata of the call that this task handles. gRPC's context makes them anew whenever they are asked for."""

REQUEST_ID_KEY = "x-request-id"
PIN_KEY = "slipway-artifact"
"""Metadata that pins a request like the field `pin`, for callers that cannot change their messages."""
ATTEMPTS_KEY = "grpc-previous-rpc-attempts"
"""There in a client's repeated attempts only."""
MAX_REQUEST_ID_LENGTH = 128


def request_id(own: str, told: Mapping[str, Any]) -> str | None:
    """The message's own id, else that of the metadata, else a new one; None where it is given but not acceptable."""
    given = own or told.get(REQUEST_ID_KEY, "")
    acceptable = (
        isinstance(given, str) and len(given) <= MAX_REQUEST_ID_LENGTH and given.isascii() and given.isprintable()
    )
    return (given or new_request_id()) if acceptable else None


def refused() -> RequestInvalid:
    """The error of an id that is not acceptable."""
    text = f"request_id must be at most {MAX_REQUEST_ID_LENGTH} printable ASCII characters"
    return RequestInvalid(text, field="request_id")
