# SPDX-License-Identifier: Apache-2.0
"""The client against a real server: results, errors, retries and their limits."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from dataclasses import replace

import grpc
import pytest
from fake_service import ARTIFACT, CREATED, FakeService
from google.protobuf import descriptor_pool

import slipway_client
from slipway_client import AsyncSlipwayClient, SlipwayClient, _rpcs
from slipway_server import errors
from slipway_server.serving import servicers
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.server import Server
from slipway_server.telemetry import metrics

PREDICT = "slipway.v1.PredictionService/Predict"


@pytest.fixture
async def server(serve, service: FakeService) -> Server:
    return await serve(service)


@pytest.fixture
async def client(server: Server):
    async with AsyncSlipwayClient(f"127.0.0.1:{server.grpc_port}", deadline_seconds=10) as opened:
        yield opened


@pytest.fixture
def sync_client(server: Server):
    with SlipwayClient(f"127.0.0.1:{server.grpc_port}", deadline_seconds=10) as opened:
        yield opened


class Either:
    """The same calls on both clients: the synchronous one runs in a thread."""

    def __init__(self, client: AsyncSlipwayClient | SlipwayClient) -> None:
        self._client = client

    async def call(self, name: str, *args: object, **kwargs: object) -> object:
        method = getattr(self._client, name)
        if isinstance(self._client, AsyncSlipwayClient):
            result = method(*args, **kwargs)
            return [item async for item in result] if inspect.isasyncgen(result) else await result
        if inspect.isgeneratorfunction(method):
            return await asyncio.to_thread(lambda: list(method(*args, **kwargs)))
        return await asyncio.to_thread(method, *args, **kwargs)


@pytest.fixture(params=["async", "sync"])
def either(request: pytest.FixtureRequest, client: AsyncSlipwayClient, sync_client: SlipwayClient) -> Either:
    return Either(client if request.param == "async" else sync_client)


async def test_predict_and_ask(either: Either, service: FakeService) -> None:
    inputs = {"question": "why?", "k": 3, "ratio": 0.5, "list": [1, {"deep": None}], "flag": False}
    prediction = await either.call("predict", inputs, routing_key="u", pin="stable", request_id="id-1")
    assert isinstance(prediction, slipway_client.Prediction)
    assert prediction.outputs == inputs | {"answer": "echo why?", "reasoning": "it echoes"}
    assert isinstance(prediction.outputs["k"], int)
    receipt = prediction.receipt
    assert (receipt.request_id, receipt.cache, receipt.attempts, receipt.cost_usd) == ("id-1", "miss", 2, None)
    assert (receipt.waits_seconds, receipt.elapsed_seconds) == ({"retry": 0.25}, 0.125)
    assert receipt.server == "pod-1"
    assert service.seen[-1][2:] == ("u", "stable")

    answer = await either.call("ask", "why?", bypass_cache=True)
    assert isinstance(answer, slipway_client.RagAnswer)
    assert (answer.answer, answer.reasoning) == ("echo why?", "it echoes")
    assert answer.citations == (slipway_client.Citation("p1", "A title", 0.5),)
    assert service.seen[-1][1].use_cache is False


async def test_serving_artifacts_health_and_feedback(either: Either, service: FakeService) -> None:
    service.known = [replace(ARTIFACT, digest=f"{n:064}") for n in range(5)]
    serving = await either.call("serving")
    assert isinstance(serving, slipway_client.Serving)
    assert serving.input_fields == ("question",)
    assert serving.variants[0].artifact == slipway_client.Artifact(
        "rag-a", "a" * 64, "tests:Echo", "exact-match", 0.75, CREATED, True
    )
    found = await either.call("list_artifacts", page_size=2)
    assert [artifact.digest for artifact in found] == [info.digest for info in service.known]
    assert await either.call("health") is True
    assert await either.call("health", servicers.RAG) is True
    with pytest.raises(slipway_client.NotFound):
        await either.call("health", "no.such.Service")
    with pytest.raises(slipway_client.Unsupported) as refused:
        await either.call("submit_feedback", "id-1", good=True, correct_outputs={"answer": "b"})
    assert refused.value.reason == "METHOD_UNSUPPORTED"


ERRORS = [
    (errors.InputUnknownField("no 'x'", field="x"), slipway_client.InvalidRequest, {"field": "x"}),
    (errors.PinUnknown("no such pin"), slipway_client.NotFound, {}),
    (errors.MethodUnsupported("no"), slipway_client.Unsupported, {}),
    (errors.ProviderAuth("wrong key"), slipway_client.FailedPrecondition, {}),
    (errors.ProviderUnavailable("away"), slipway_client.Unavailable, {}),
    (errors.DeadlineTooShort("late"), slipway_client.DeadlineExceeded, {}),
    (errors.ProgramFailed("bug"), slipway_client.Internal, {}),
]


@pytest.mark.parametrize(("raised", "expected", "metadata"), ERRORS, ids=lambda value: getattr(value, "reason", ""))
async def test_errors_are_typed(
    either: Either,
    service: FakeService,
    raised: errors.SlipwayError,
    expected: type[slipway_client.SlipwayClientError],
    metadata: dict[str, str],
) -> None:
    service.failing = [raised]
    with pytest.raises(expected) as failure:
        await either.call("ask", "why?")
    error = failure.value
    assert (str(error), error.reason, error.metadata) == (raised.message, raised.reason, metadata)
    assert error.code.name == raised.code
    assert error.request_id == service.seen[-1][1].request_id
    assert error.retry_after is None
    assert len(service.seen) == 1, "what cannot succeed must not be repeated"


async def test_pushback_is_obeyed(either: Either, service: FakeService) -> None:
    repeated = metrics.RPC_RETRIES_SEEN.labels("slipway.rag.v1.RagService/Ask")._value.get()
    service.failing = [errors.ServerBusy("busy", retry_after_seconds=0.4)] * 2
    started = time.monotonic()
    answer = await either.call("ask", "why?")
    assert answer.answer == "echo why?"
    assert time.monotonic() - started >= 0.8
    assert metrics.RPC_RETRIES_SEEN.labels("slipway.rag.v1.RagService/Ask")._value.get() == repeated + 2
    ids = {context.request_id for _, context, _, _ in service.seen}
    assert len(ids) == 1, "all attempts of one call have one request id"


async def test_repeats_end_after_five_attempts(either: Either, service: FakeService) -> None:
    service.failing = [errors.ProviderRateLimited("429", retry_after_seconds=0.01)] * 9
    with pytest.raises(slipway_client.Overloaded) as failure:
        await either.call("ask", "why?")
    assert len(service.seen) == 5
    assert failure.value.retry_after == pytest.approx(0.01)


async def test_a_wait_that_does_not_fit_fails_at_once_with_the_reason(either: Either, service: FakeService) -> None:
    service.failing = [errors.QueueWaitTooLong("60 s", retry_after_seconds=60)]
    started = time.monotonic()
    with pytest.raises(slipway_client.Overloaded) as failure:
        await either.call("ask", "why?", deadline_seconds=8)
    assert time.monotonic() - started < 4
    assert (failure.value.reason, failure.value.retry_after) == ("QUEUE_WAIT_TOO_LONG", 60)


async def test_a_deadline_is_kept(either: Either, service: FakeService) -> None:
    service.sleep_seconds = 30
    with pytest.raises(slipway_client.DeadlineExceeded) as failure:
        await either.call("ask", "why?", deadline_seconds=0.2)
    assert failure.value.request_id
    for wrong in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="deadline_seconds"):
            await either.call("ask", "why?", deadline_seconds=wrong)


@pytest.mark.parametrize(
    ("size_bytes", "code", "reason"),
    [
        (5_000_000, grpc.StatusCode.INVALID_ARGUMENT, "INPUT_TOO_LARGE"),
        # Refused by gRPC itself, as an overload: which it is not, waiting would not help.
        (ServingConfig().max_received_bytes, grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
    ],
)
async def test_a_message_beyond_a_limit_is_the_callers_mistake(
    either: Either, service: FakeService, size_bytes: int, code: grpc.StatusCode, reason: str
) -> None:
    with pytest.raises(slipway_client.InvalidRequest) as failure:
        await either.call("ask", "x" * size_bytes)
    assert (failure.value.code, failure.value.reason) == (code, reason)
    assert not service.seen


@pytest.mark.parametrize("wrong", [{"x": object()}, {"x": 2**60}, {"x": [b"bytes"]}])
async def test_inputs_that_are_no_json_values_are_refused_here(either: Either, wrong: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError), match="field 'x'"):
        await either.call("predict", wrong)


async def test_cancelling_the_task_cancels_the_program(client: AsyncSlipwayClient, service: FakeService) -> None:
    service.sleep_seconds = 30
    call = asyncio.create_task(client.ask("why?"))
    async with asyncio.timeout(60):
        while not service.seen:
            await asyncio.sleep(0.005)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        while not service.cancelled:
            await asyncio.sleep(0.005)


async def test_no_server_is_unavailable_and_unhealthy() -> None:
    async with AsyncSlipwayClient("127.0.0.1:1", deadline_seconds=10) as client:
        with pytest.raises(slipway_client.Unavailable) as failure:
            await client.ask("why?")
        assert failure.value.reason == ""
        assert await client.health() is False


async def test_closing_the_client_is_no_cancellation_of_its_callers_tasks(
    either: Either, client: AsyncSlipwayClient, sync_client: SlipwayClient, service: FakeService
) -> None:
    service.sleep_seconds = 300
    call = asyncio.create_task(either.call("ask", "why?", deadline_seconds=60))
    async with asyncio.timeout(60):
        while not service.seen:
            await asyncio.sleep(0.005)
        await client.close()
        sync_client.close()
        with pytest.raises(slipway_client.Cancelled) as failure:
            await call
    assert failure.value.request_id


@pytest.mark.parametrize("kind", [AsyncSlipwayClient, SlipwayClient])
async def test_a_server_that_says_nothing_is_unhealthy(kind: type[AsyncSlipwayClient | SlipwayClient]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = kind(f"127.0.0.1:{mute.getsockname()[1]}")
        assert await Either(client).call("health", deadline_seconds=0.2) is False
        closing = client.close()
        if closing is not None:
            await closing


async def test_servers_that_are_not_ready_are_left_out(serve, service: FakeService) -> None:
    later = FakeService()
    ready, starting = await serve(service), await serve(later, ready=False)
    target = f"ipv4:127.0.0.1:{ready.grpc_port},127.0.0.1:{starting.grpc_port}"
    async with AsyncSlipwayClient(target) as client:
        await asyncio.gather(*(client.ask("why?") for _ in range(20)))
        assert (len(service.seen), len(later.seen)) == (20, 0)
        await starting.readiness.open()
        async with asyncio.timeout(60):
            while not later.seen:
                await client.ask("why?")


async def test_calls_are_spread_over_all_servers(serve) -> None:
    services = [FakeService(), FakeService()]
    servers = [await serve(service) for service in services]
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.grpc_port}" for server in servers)
    async with AsyncSlipwayClient(target) as client:
        async with asyncio.timeout(60):
            while not all(service.seen for service in services):
                await client.ask("why?")
        for service in services:
            service.seen.clear()
        for _ in range(20):
            await client.ask("why?")
    assert [len(service.seen) for service in services] == [10, 10]


def contract_methods() -> list[str]:
    pool = descriptor_pool.Default()
    names = (servicers.PREDICTION, servicers.ARTIFACT, servicers.FEEDBACK, servicers.RAG)
    return [f"/{name}/{method.name}" for name in names for method in pool.FindServiceByName(name).methods]


METHODS = {
    "Predict": ("predict", ({"question": "x"},)),
    "Ask": ("ask", ("x",)),
    "GetServing": ("serving", ()),
    "ListArtifacts": ("list_artifacts", ()),
    "SubmitFeedback": ("submit_feedback", ("id",)),
}


@pytest.mark.parametrize("path", contract_methods())
async def test_every_method_of_the_contract_has_a_client_method(either: Either, path: str) -> None:
    """Seen at the server: the method's own metric moved."""
    name, arguments = METHODS[path.rpartition("/")[2]]
    series = [metrics.RPC_DURATION.labels(path.lstrip("/"), code)._sum for code in ("OK", "UNIMPLEMENTED")]
    before = sum(value.get() for value in series)
    try:
        await either.call(name, *arguments)
    except slipway_client.Unsupported:
        pass
    assert sum(value.get() for value in series) > before


def test_no_rpc_of_the_client_is_missing_in_the_contract() -> None:
    assert {rpc.path for rpc in _rpcs.RPCS} == {*contract_methods(), "/grpc.health.v1.Health/Check"}


async def test_the_limit_of_the_server_config_reaches_the_channel(serve, service: FakeService) -> None:
    server = await serve(service, ServingConfig(drain_seconds=0, max_input_bytes=10))
    async with AsyncSlipwayClient(f"127.0.0.1:{server.grpc_port}") as client:
        with pytest.raises(slipway_client.InvalidRequest) as failure:
            await client.ask("x" * 11)
    assert failure.value.metadata == {"size_bytes": "11", "limit_bytes": "10"}
