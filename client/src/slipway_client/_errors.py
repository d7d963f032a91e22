# SPDX-License-Identifier: Apache-2.0
"""What calls raise.

::

    SlipwayClientError            .code .reason .message .metadata .request_id .retry_after
    ├── InvalidRequest            the request cannot succeed as it is
    ├── NotFound                  `pin` names nothing that is served
    ├── Unsupported               the program or the deployment does not offer the method
    ├── FailedPrecondition        the deployment must be changed
    ├── Overloaded                waiting helps; `retry_after` says how long
    ├── Unavailable               the server, or something that it needs, is away
    ├── DeadlineExceeded          no answer in time
    ├── Cancelled                 the call was cancelled
    └── Internal                  the request was fine, the answer was not
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError

from slipway.v1 import error_pb2

DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"

REFUSED_UNREAD = "Received message larger than max"
"""gRPC's own words, without ErrorInfo and as RESOURCE_EXHAUSTED: but waiting does not help."""


class SlipwayClientError(Exception):
    """Base of every error. `str()` is the server's one line: the cause and the remedy.

    Attributes:
        code: The gRPC status.
        reason: Row of docs/errors.md in upper snake case; empty where the error is not the server's, such as a
            connection that could not be made.
        message: The line that `str()` shows.
        metadata: The dynamic parts of the message, such as the name of a field.
        request_id: What the server's log has the request under.
        retry_after: Seconds to wait before another try, where the server knows; else None. The client has already
            repeated what is worth repeating.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.request_id = request_id
        self.retry_after = retry_after

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.message!r}, code={self.code.name}, reason={self.reason!r}, "
            f"request_id={self.request_id!r}, retry_after={self.retry_after})"
        )


class InvalidRequest(SlipwayClientError):
    """The request cannot succeed as it is (INVALID_ARGUMENT, or RESOURCE_EXHAUSTED where it is far too large)."""


class NotFound(SlipwayClientError):
    """`pin` names nothing that is served (NOT_FOUND)."""


class Unsupported(SlipwayClientError):
    """The program or the deployment does not offer the method (UNIMPLEMENTED)."""


class FailedPrecondition(SlipwayClientError):
    """The deployment must be changed (FAILED_PRECONDITION)."""


class Overloaded(SlipwayClientError):
    """Waiting helps (RESOURCE_EXHAUSTED)."""


class Unavailable(SlipwayClientError):
    """The server, or something that it needs, is away (UNAVAILABLE)."""


class DeadlineExceeded(SlipwayClientError):
    """No answer in time (DEADLINE_EXCEEDED)."""


class Cancelled(SlipwayClientError):
    """The call was cancelled (CANCELLED)."""


class Internal(SlipwayClientError):
    """The request was fine, the answer was not (INTERNAL and what is left)."""


_BY_CODE: dict[grpc.StatusCode, type[SlipwayClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNIMPLEMENTED: Unsupported,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
}


def from_rpc_error(failure: grpc.RpcError, request_id: str) -> SlipwayClientError:
    """The typed error of a failed call, sync or async."""
    trailers = dict(failure.trailing_metadata() or ())
    reason, metadata, retry_after = _details(trailers.get(DETAILS_KEY, b""))
    message = failure.details() or failure.code().name
    too_large = not reason and message.startswith(f"SERVER: {REFUSED_UNREAD}")
    return (InvalidRequest if too_large else _BY_CODE.get(failure.code(), Internal))(
        message,
        code=failure.code(),
        reason=reason,
        metadata=metadata,
        request_id=trailers.get(REQUEST_ID_KEY, request_id),
        retry_after=retry_after,
    )


def _details(encoded: bytes) -> tuple[str, dict[str, str], float | None]:
    reason, metadata, retry_after = "", {}, None
    try:
        for packed in error_pb2.ErrorStatus.FromString(encoded).details:
            kind = packed.type_url.rpartition("/")[2]
            if kind == "google.rpc.ErrorInfo":
                info = error_pb2.ErrorReason.FromString(packed.value)
                reason, metadata = info.reason, dict(info.metadata)
            elif kind == "google.rpc.RetryInfo":
                delay = error_pb2.RetryDelay.FromString(packed.value).retry_delay
                retry_after = delay.seconds + delay.nanos / 1e9
    except DecodeError:
        # A proxy's trailer, perhaps; the status itself says enough.
        pass
    return reason, metadata, retry_after
