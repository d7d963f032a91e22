# SPDX-License-Identifier: Apache-2.0
"""Every error of the catalogue through the real interceptors, as a stub in any language sees it."""

from __future__ import annotations

import asyncio
import logging

import grpc
import pytest
from fake_service import FakeService
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2

from slipway.v1 import prediction_pb2, prediction_pb2_grpc
from slipway_server import errors
from slipway_server.serving.config import MIN_MESSAGE_BYTES, ServingConfig
from slipway_server.serving.server import Server
from slipway_server.telemetry import metrics

RETRY_DISABLED = [("grpc.enable_retries", 0)]
PREDICT = "slipway.v1.PredictionService/Predict"


async def failed(channel: grpc.aio.Channel, *, timeout: float | None = None) -> grpc.aio.AioRpcError:
    inputs = Struct()
    inputs.update({"raise": "it"})
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.Predict(prediction_pb2.PredictRequest(inputs=inputs, request_id="id-7"), timeout=timeout)
    return failure.value


@pytest.fixture
async def single_attempt(serve, service: FakeService):
    server = await serve(service)
    target = f"127.0.0.1:{server.grpc_port}"
    async with grpc.aio.insecure_channel(target, options=RETRY_DISABLED) as channel:
        yield channel


def details(failure: grpc.aio.AioRpcError) -> dict[str, object]:
    rich = status_pb2.Status.FromString(dict(failure.trailing_metadata())["grpc-status-details-bin"])
    assert rich.code == failure.code().value[0]
    assert rich.message == failure.details()
    found: dict[str, object] = {}
    for packed in rich.details:
        kind = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])
        assert kind.DESCRIPTOR.name not in found, "each detail type at most once (AIP-193)"
        found[kind.DESCRIPTOR.name] = kind.FromString(packed.value)
    return found


@pytest.mark.parametrize("cls", errors.catalogue(), ids=lambda cls: cls.reason)
async def test_every_error_of_the_catalogue(
    cls: type[errors.SlipwayError], single_attempt: grpc.aio.Channel, service: FakeService
) -> None:
    service.failures["it"] = cls("the cause; the remedy", retry_after_seconds=2.5, field="question")
    before = metrics.ERRORS.labels(cls.reason)._value.get()

    failure = await failed(single_attempt)

    trailers = dict(failure.trailing_metadata())
    found = details(failure)
    info = found["ErrorInfo"]
    assert failure.code().name == cls.code
    assert (info.reason, info.domain, dict(info.metadata)) == (cls.reason, "slipway", {"field": "question"})
    assert trailers["x-request-id"] == "id-7"
    assert trailers["grpc-retry-pushback-ms"] == ("2500" if cls.retryable else "-1")
    assert ("RetryInfo" in found) == cls.retryable
    assert ("QuotaFailure" in found) == issubclass(cls, errors.OverloadError)
    assert ("BadRequest" in found) == issubclass(cls, errors.CallerError)
    assert metrics.ERRORS.labels(cls.reason)._value.get() == before + 1


async def test_retryable_without_a_known_wait_leaves_the_backoff_to_the_caller(
    single_attempt: grpc.aio.Channel, service: FakeService
) -> None:
    service.failures["it"] = errors.NotReady("starting")
    failure = await failed(single_attempt)
    assert "grpc-retry-pushback-ms" not in dict(failure.trailing_metadata())
    assert "RetryInfo" not in details(failure)


async def test_a_wait_beyond_the_callers_deadline_is_not_retried(
    single_attempt: grpc.aio.Channel, service: FakeService
) -> None:
    service.failures["it"] = errors.QueueWaitTooLong("60 s", retry_after_seconds=60)
    failure = await failed(single_attempt, timeout=5)
    assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(failure.trailing_metadata())["grpc-retry-pushback-ms"] == "-1"
    assert details(failure)["RetryInfo"].retry_delay.seconds == 60


async def test_no_exception_text_reaches_a_caller(
    single_attempt: grpc.aio.Channel, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.failures["it"] = ValueError("password=hunter2 tenant=42")
    with caplog.at_level(logging.INFO, "slipway_server"):
        failure = await failed(single_attempt)
    assert failure.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in repr(failure)
    assert b"hunter2" not in b"".join(
        value if isinstance(value, bytes) else value.encode() for _, value in failure.trailing_metadata()
    )
    assert details(failure)["ErrorInfo"].reason == "INTERNAL"
    assert "id-7" in failure.details()
    (record,) = [record for record in caplog.records if record.getMessage() == "rpc"]
    assert record.request_id == "id-7"
    assert "hunter2" in str(record.exc_info[1])


async def test_a_long_message_still_fits_into_the_trailers(
    single_attempt: grpc.aio.Channel, service: FakeService
) -> None:
    long = "ü\n" * 20_000
    service.failures["it"] = errors.InputUnknownField(long, **{f"key_{n}": long for n in range(50)}, field=long)
    failure = await failed(single_attempt)
    assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "\n" not in failure.details()
    assert len(dict(failure.trailing_metadata())["grpc-status-details-bin"]) <= 1024


async def test_a_timeout_of_something_else_is_not_the_deadlines(
    single_attempt: grpc.aio.Channel, service: FakeService
) -> None:
    service.failures["it"] = TimeoutError("a disk that does not answer")
    failure = await failed(single_attempt)
    assert details(failure)["ErrorInfo"].reason == "INTERNAL"


async def test_a_spent_deadline_ends_the_request(serve, service: FakeService) -> None:
    """Without a deadline of the caller's, the server's own limit counts."""
    server = await serve(service, ServingConfig(drain_seconds=0, max_deadline_seconds=0.05))
    service.sleep_seconds = 30
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.Predict(prediction_pb2.PredictRequest())
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert details(failure.value)["ErrorInfo"].reason == "DEADLINE_EXCEEDED"
    assert service.cancelled == 1


async def test_a_request_that_is_too_large_is_refused_unread(
    single_attempt: grpc.aio.Channel, service: FakeService
) -> None:
    inputs = Struct()
    inputs.update({"question": "x" * MIN_MESSAGE_BYTES})
    stub = prediction_pb2_grpc.PredictionServiceStub(single_attempt)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.Predict(prediction_pb2.PredictRequest(inputs=inputs))
    info = details(failure.value)["ErrorInfo"]
    assert (failure.value.code().name, info.reason) == ("INVALID_ARGUMENT", "INPUT_TOO_LARGE")
    assert info.metadata["limit_bytes"] == str(MIN_MESSAGE_BYTES)
    assert not service.seen


async def test_a_request_that_is_no_message_has_a_typed_error(
    single_attempt: grpc.aio.Channel, service: FakeService
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await single_attempt.unary_unary(f"/{PREDICT}")(b"\xff\xff\xff")
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(failure.value)["ErrorInfo"].reason == "REQUEST_INVALID"
    assert not service.seen


def in_flight() -> float | None:
    return metrics.REGISTRY.get_sample_value("slipway_rpc_in_flight", {"method": PREDICT})


async def eventually(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_caller_that_goes_away_cancels_the_program(
    channel: grpc.aio.Channel, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.sleep_seconds = 30
    call = prediction_pb2_grpc.PredictionServiceStub(channel).Predict(prediction_pb2.PredictRequest())
    await eventually(lambda: service.seen)
    assert in_flight() == 1
    with caplog.at_level(logging.INFO, "slipway_server"):
        call.cancel()
        await eventually(lambda: service.cancelled)
        await eventually(lambda: caplog.records)
    assert caplog.records[-1].code == "CANCELLED"
    assert in_flight() == 0


async def test_the_callers_own_deadline_cancels_the_program(channel: grpc.aio.Channel, service: FakeService) -> None:
    service.sleep_seconds = 30
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.Predict(prediction_pb2.PredictRequest(), timeout=2)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: service.cancelled)


@pytest.mark.parametrize("given", ["x" * 129, "line\nbreak", "ü"])
async def test_malformed_request_ids_are_refused(channel: grpc.aio.Channel, given: str) -> None:
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.Predict(prediction_pb2.PredictRequest(request_id=given))
    assert details(failure.value)["ErrorInfo"].reason == "REQUEST_INVALID"
    assert dict(failure.value.trailing_metadata())["x-request-id"] != given


async def test_request_ids_come_from_the_message_the_metadata_or_the_server(channel: grpc.aio.Channel) -> None:
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    for message_id, metadata_id in (("a" * 128, "b"), ("", "b"), ("", None)):
        metadata = (("x-request-id", metadata_id),) if metadata_id else ()
        call = stub.Predict(prediction_pb2.PredictRequest(request_id=message_id), metadata=metadata)
        receipt = (await call).receipt
        assert dict(await call.trailing_metadata())["x-request-id"] == receipt.request_id
        assert receipt.request_id == (message_id or metadata_id or receipt.request_id)
        assert receipt.request_id


async def test_more_than_the_server_takes_is_refused_at_once_but_health_is_not(serve, service: FakeService) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    server: Server = await serve(service, ServingConfig(drain_seconds=0, max_concurrent_requests=2))
    service.sleep_seconds = 30
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=RETRY_DISABLED) as channel:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        calls = [stub.Predict(prediction_pb2.PredictRequest()) for _ in range(2)]
        await eventually(lambda: len(service.seen) == 2)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.Predict(prediction_pb2.PredictRequest())
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(failure.value)["ErrorInfo"].reason == "SERVER_BUSY"
        assert 500 <= int(dict(failure.value.trailing_metadata())["grpc-retry-pushback-ms"]) <= 1500
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for call in calls:
            call.cancel()
        await eventually(lambda: service.cancelled == 2)
        service.sleep_seconds = 0
        await stub.Predict(prediction_pb2.PredictRequest())


async def test_repeated_attempts_are_counted(channel: grpc.aio.Channel) -> None:
    seen = metrics.RPC_RETRIES_SEEN.labels(PREDICT)
    before = seen._value.get()
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    await stub.Predict(prediction_pb2.PredictRequest())
    assert seen._value.get() == before


async def test_one_log_event_per_rpc_says_what_the_receipt_says(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "slipway_server"):
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        await stub.Predict(prediction_pb2.PredictRequest(request_id="id-9"))
    (record,) = caplog.records
    assert record.getMessage() == "rpc"
    assert (record.method, record.code, record.request_id) == (PREDICT, "OK", "id-9")
    assert (record.variant, record.lm_calls, record.attempts) == ("stable", 1, 2)


async def test_an_expected_error_is_logged_in_one_line_with_its_cause_by_type(
    single_attempt: grpc.aio.Channel, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    error = errors.ProviderUnavailable("the provider failed every attempt")
    error.__cause__ = ConnectionResetError("a user's words")
    service.failures["it"] = error
    with caplog.at_level(logging.INFO, "slipway_server"):
        await failed(single_attempt)
    (record,) = [record for record in caplog.records if record.getMessage() == "rpc"]
    assert (record.exc_info, record.cause) == (None, "ConnectionResetError")
    assert "words" not in str(vars(record))


@pytest.mark.parametrize(
    ("failure", "level"),
    [
        (errors.InputEmpty("empty"), "INFO"),
        (errors.DeadlineTooShort("too short"), "WARNING"),
        (errors.ProviderUnavailable("away"), "WARNING"),
        (errors.ProviderAuth("wrong key"), "ERROR"),
        (errors.ProgramFailed("raised"), "ERROR"),
        (ValueError("a fault"), "ERROR"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_only_what_somebody_must_mend_is_logged_as_an_error(
    failure: Exception,
    level: str,
    single_attempt: grpc.aio.Channel,
    service: FakeService,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service.failures["it"] = failure
    with caplog.at_level(logging.INFO, "slipway_server"):
        await failed(single_attempt)
    assert [record.levelname for record in caplog.records if record.getMessage() == "rpc"] == [level]


async def test_causes_that_go_in_a_circle_are_logged_too(
    single_attempt: grpc.aio.Channel, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    error, other = errors.ProviderUnavailable("the provider failed every attempt"), ConnectionResetError()
    error.__cause__, other.__cause__ = other, error
    service.failures["it"] = error
    with caplog.at_level(logging.INFO, "slipway_server"):
        assert (await failed(single_attempt)).code() is grpc.StatusCode.UNAVAILABLE
    assert [record.reason for record in caplog.records if record.getMessage() == "rpc"] == ["PROVIDER_UNAVAILABLE"]
