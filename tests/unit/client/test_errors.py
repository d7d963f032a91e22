# SPDX-License-Identifier: Apache-2.0
"""What becomes of statuses that are not from a Slipway server."""

from __future__ import annotations

import grpc
import pytest

import slipway_client
from slipway.v1 import error_pb2
from slipway_client._errors import from_rpc_error


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str, trailers: tuple[tuple[str, str | bytes], ...]) -> None:
        self._parts = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._parts[0]

    def details(self) -> str:
        return self._parts[1]

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._parts[2]


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_has_a_class_and_keeps_its_code(code: grpc.StatusCode) -> None:
    error = from_rpc_error(Failure(code, "a proxy's words", ()), "id-1")
    assert (error.code, str(error), error.request_id, error.reason) == (code, "a proxy's words", "id-1", "")
    assert type(error) is not slipway_client.SlipwayClientError
    assert code.name in repr(error)


def test_a_request_too_large_for_grpc_is_not_an_overload() -> None:
    """Waiting does not help, whatever the code says."""
    refused = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (9 vs. 4)", ())
    assert type(from_rpc_error(refused, "id")) is slipway_client.InvalidRequest
    answer = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max (9 vs. 4)", ())
    assert type(from_rpc_error(answer, "id")) is slipway_client.Overloaded


def test_details_that_are_no_protobuf_are_ignored() -> None:
    trailers = (("grpc-status-details-bin", b"\xff\xff\xff"),)
    assert from_rpc_error(Failure(grpc.StatusCode.UNAVAILABLE, "", trailers), "id").reason == ""


def test_an_unknown_detail_is_skipped() -> None:
    status = error_pb2.ErrorStatus(code=14)
    status.details.add(type_url="type.googleapis.com/google.rpc.DebugInfo", value=b"\x0a\x01x")
    info = error_pb2.ErrorReason(reason="NOT_READY", domain="slipway").SerializeToString()
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=info)
    trailers = (("grpc-status-details-bin", status.SerializeToString()), ("x-request-id", "theirs"))
    error = from_rpc_error(Failure(grpc.StatusCode.UNAVAILABLE, "x", trailers), "ours")
    assert (error.reason, error.request_id, error.retry_after) == ("NOT_READY", "theirs", None)


def test_the_mirror_has_the_wire_format_of_google_rpc() -> None:
    from google.protobuf.duration_pb2 import Duration
    from google.rpc import error_details_pb2, status_pb2

    status = status_pb2.Status(code=8, message="m")
    info = error_details_pb2.ErrorInfo(reason="R", domain="slipway", metadata={"k": "v"})
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
    for detail in (info, retry):
        status.details.add().Pack(detail)
    mirror = error_pb2.ErrorStatus.FromString(status.SerializeToString())
    assert (mirror.code, mirror.message) == (8, "m")
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    error = from_rpc_error(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "m", trailers), "id")
    assert (error.reason, error.metadata, error.retry_after) == ("R", {"k": "v"}, 2.5)
    assert isinstance(error, slipway_client.Overloaded)
