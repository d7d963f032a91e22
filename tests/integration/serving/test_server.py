# SPDX-License-Identifier: Apache-2.0
"""Health, reflection, HTTP, ports, the dry run and the stop of one server in this process."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import grpc
import pytest
from fake_service import FakeService
from google.protobuf import descriptor_pb2
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from slipway.v1 import prediction_pb2, prediction_pb2_grpc
from slipway_server import errors
from slipway_server.serving import servicers
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.lifecycle import run
from slipway_server.serving.server import HEALTH, Server

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
ALL = (servicers.PREDICTION, servicers.ARTIFACT, servicers.FEEDBACK, servicers.RAG)


def channel_to(server: Server) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=[("grpc.enable_retries", 0)])


async def health_of(channel: grpc.aio.Channel, names: tuple[str, ...]) -> set[int]:
    stub = health_pb2_grpc.HealthStub(channel)
    return {(await stub.Check(health_pb2.HealthCheckRequest(service=name))).status for name in names}


async def http(server: Server, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.metrics_port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_health_follows_the_state_for_every_service_and_overall(serve, service: FakeService) -> None:
    server = await serve(service, ready=False)
    async with channel_to(server) as channel:
        assert await health_of(channel, ("", *ALL)) == {NOT_SERVING}
        await server.readiness.open()
        assert await health_of(channel, ("", *ALL)) == {SERVING}
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await health_of(channel, ("no.such.Service",))
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND
        await server.readiness.drain()
        await server.readiness.open()
        assert await health_of(channel, ("", *ALL)) == {NOT_SERVING}


async def test_a_service_that_the_program_does_not_offer_has_no_health(serve, service: FakeService) -> None:
    service.output_fields = ("summary",)
    server = await serve(service)
    async with channel_to(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await health_of(channel, (servicers.RAG,))
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND


async def test_before_the_dry_run_requests_are_refused_as_not_ready(serve, service: FakeService) -> None:
    server = await serve(service, ready=False)
    async with channel_to(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await prediction_pb2_grpc.PredictionServiceStub(channel).Predict(prediction_pb2.PredictRequest())
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert int(dict(failure.value.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
    assert not service.seen


async def test_http_says_live_ready_and_metrics(serve, service: FakeService) -> None:
    server = await serve(service, ready=False)
    await server.readiness.close("dry run met PROVIDER_UNAVAILABLE")
    assert await http(server, "/live") == (200, "live\n")
    assert await http(server, "/ready") == (503, "not ready: dry run met PROVIDER_UNAVAILABLE\n")
    await server.readiness.open()
    assert await http(server, "/ready") == (200, "ready\n")
    async with channel_to(server) as channel:
        await prediction_pb2_grpc.PredictionServiceStub(channel).Predict(prediction_pb2.PredictRequest())
    status, text = await http(server, "/metrics")
    assert status == 200
    assert 'slipway_rpc_duration_seconds_count{code="OK",method="slipway.v1.PredictionService/Predict"}' in text


async def test_a_method_can_be_called_through_reflection_alone(serve, service: FakeService) -> None:
    """As grpcurl does it: names, then descriptors, then a call with messages made from them."""
    from google.protobuf import descriptor_pool, message_factory

    server = await serve(service)
    async with channel_to(server) as channel:

        async def asked(**question: object) -> reflection_pb2.ServerReflectionResponse:
            request = reflection_pb2.ServerReflectionRequest(**question)
            async for response in reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo([request]):
                return response
            raise AssertionError("no response")

        listed = (await asked(list_services="")).list_services_response.service
        assert {entry.name for entry in listed} == {*ALL, HEALTH, "grpc.reflection.v1alpha.ServerReflection"}

        pool, wanted = descriptor_pool.DescriptorPool(), [servicers.RAG]
        found = await asked(file_containing_symbol=wanted[0])
        files: dict[str, descriptor_pb2.FileDescriptorProto] = {}

        async def collect(response: reflection_pb2.ServerReflectionResponse) -> None:
            for encoded in response.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
                if file.name not in files:
                    files[file.name] = file
                    for dependency in file.dependency:
                        await collect(await asked(file_by_filename=dependency))
                    pool.Add(file)

        await collect(found)
        method = pool.FindServiceByName(servicers.RAG).FindMethodByName("Ask")
        request: Message = message_factory.GetMessageClass(method.input_type)(question="why?")
        response_class = message_factory.GetMessageClass(method.output_type)
        call = channel.unary_unary(
            f"/{servicers.RAG}/Ask",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_class.FromString,
        )
        assert (await call(request)).answer == "echo why?"


@pytest.mark.parametrize("symbol", [f"{servicers.RAG}.Ask", "slipway.rag.v1.AskRequest", "slipway.v1.Receipt.cache"])
async def test_reflection_describes_every_kind_of_symbol(serve, service: FakeService, symbol: str) -> None:
    server = await serve(service)
    async with channel_to(server) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in (symbol, f"{symbol}x")]
        found, unknown = [response async for response in stub.ServerReflectionInfo(asked)]
    assert found.file_descriptor_response.file_descriptor_proto
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_the_reflection_client_of_grpcio_reads_it_too(serve, service: FakeService) -> None:
    server = await serve(service)

    def names() -> list[str]:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            return list(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert set(ALL) <= set(await asyncio.to_thread(names))


async def test_reflection_can_be_switched_off(serve, service: FakeService) -> None:
    server = await serve(service, ServingConfig(drain_seconds=0, reflection=False))
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    async with channel_to(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await channel.unary_unary(path)(b"")
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("key", ["grpc_port", "metrics_port"])
async def test_a_taken_port_is_one_clear_line(service: FakeService, key: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = Server(service, ServingConfig(**{key: port}))
        with pytest.raises(errors.PortTaken, match=rf"SLIPWAY_{key.upper()}: another process .* {port}") as failure:
            await server.start()
        await server.stop(drain=False)
    assert "\n" not in failure.value.message


async def test_two_servers_never_share_a_port(serve, service: FakeService) -> None:
    first = await serve(service)
    second = Server(service, ServingConfig(grpc_port=first.grpc_port))
    with pytest.raises(errors.PortTaken):
        await second.start()
    await second.stop(drain=False)


async def test_a_foreign_address_names_the_key(service: FakeService) -> None:
    server = Server(service, ServingConfig(host="192.0.2.1"))
    with pytest.raises(errors.ConfigInvalid, match="SLIPWAY_HOST"):
        await server.start()
    await server.stop(drain=False)


class Life:
    """`run` in a task, with what it announced."""

    def __init__(self, service: FakeService, config: ServingConfig) -> None:
        self.stop = asyncio.Event()
        self.ready: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(run(service, config, self.stop, self.ready.set_result))


async def test_a_stop_finishes_what_is_under_way(service: FakeService) -> None:
    life = Life(service, ServingConfig(drain_seconds=0.1))
    server = await life.ready
    service.sleep_seconds = 0.4
    async with channel_to(server) as channel:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        calls = [stub.Predict(prediction_pb2.PredictRequest()) for _ in range(20)]
        await asyncio.gather(*(call.wait_for_connection() for call in calls))
        life.stop.set()
        answers = await asyncio.gather(*calls)
        assert len(answers) == 20
        await life.task
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", server.grpc_port)


async def test_while_draining_it_says_so_and_still_answers(service: FakeService) -> None:
    life = Life(service, ServingConfig(drain_seconds=1))
    server = await life.ready
    async with channel_to(server) as channel:
        assert await health_of(channel, ("",)) == {SERVING}
        life.stop.set()
        async with asyncio.timeout(60):
            while await health_of(channel, ("",)) == {SERVING}:
                pass
        assert (await http(server, "/ready"))[0] == 503
        await prediction_pb2_grpc.PredictionServiceStub(channel).Predict(prediction_pb2.PredictRequest())
        await life.task


async def test_a_dry_run_that_blames_the_deployment_ends_the_start(service: FakeService) -> None:
    service.dry_runs = [errors.ProviderAuth("the provider refuses the key")]
    life = Life(service, ServingConfig(drain_seconds=30))
    with pytest.raises(errors.ProviderAuth, match="refuses the key"):
        await life.task
    assert not life.ready.done()


async def test_a_dry_run_that_meets_passing_trouble_is_retried(service: FakeService) -> None:
    service.dry_runs = [errors.ProviderUnavailable("the provider answers 503"), None]
    life = Life(service, ServingConfig(drain_seconds=0))
    await life.ready
    assert service.dry_runs == []
    life.stop.set()
    await life.task


async def test_a_stop_during_the_dry_run_ends_it(service: FakeService) -> None:
    hanging = asyncio.Event()

    async def dry_run() -> None:
        hanging.set()
        await asyncio.Event().wait()

    service.dry_run = dry_run  # type: ignore[method-assign]
    life = Life(service, ServingConfig(drain_seconds=30))
    await hanging.wait()
    life.stop.set()
    async with asyncio.timeout(20):
        await life.task
