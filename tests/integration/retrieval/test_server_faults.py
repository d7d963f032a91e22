# SPDX-License-Identifier: Apache-2.0
"""A Qdrant server that is away, slow, or refuses: each an error of the catalogue, in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from pydantic import SecretStr
from qdrant_client.grpc import CountResponse, CountResult

from slipway_server import request
from slipway_server.config import load_settings
from slipway_server.errors import CollectionMissing, ConfigInvalid, DeadlineTooShort, RetrievalUnavailable, SlipwayError
from slipway_server.request import RequestContext
from slipway_server.retrieval import open_retriever
from slipway_server.retrieval.bm25 import Bm25Encoder
from slipway_server.retrieval.channel import ATTEMPTS, SERVICE_CONFIG
from slipway_server.retrieval.corpus import Document
from slipway_server.retrieval.ingest import run
from slipway_server.retrieval.qdrant import Connection, ServerConfig
from slipway_server.retrieval.server import ServerRetriever
from slipway_server.retrieval.version import Version

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning")

VERSION = Version("docs", "0" * 64, "offline/bm25", 0, 1)
Answer = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]
Serve = Callable[..., Awaitable[ServerConfig]]


class _Any(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every method the same way."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(answer)`: the configuration of a gRPC server that gives this answer to everything."""
    servers = []

    async def started(answer: Answer, **overrides: Any) -> ServerConfig:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Any(answer),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        config = ServerConfig("http://127.0.0.1:1", SecretStr("sk-secret"), grpc_port=port, timeout_seconds=30)
        return replace(config, **overrides)

    yield started
    for server in servers:
        await server.stop(0)


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, ConfigInvalid, "SLIPWAY_QDRANT_API_KEY"),
        (grpc.StatusCode.PERMISSION_DENIED, ConfigInvalid, "SLIPWAY_QDRANT_API_KEY"),
        (grpc.StatusCode.NOT_FOUND, CollectionMissing, "is not at"),
        (grpc.StatusCode.UNAVAILABLE, RetrievalUnavailable, "UNAVAILABLE"),
        (grpc.StatusCode.INTERNAL, RetrievalUnavailable, "INTERNAL"),
    ],
)
async def test_each_refusal_has_its_error(
    serve: Serve, code: grpc.StatusCode, kind: type[SlipwayError], message: str
) -> None:
    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(code, "a private detail")
        return b""

    connection = await Connection.open(await serve(answer))
    with pytest.raises(kind, match=message) as caught:
        await connection.current("docs")
    for hidden in ("private", "sk-secret", "127.0.0.1"):
        assert hidden not in caught.value.message
    await connection.aclose()


async def test_a_server_that_limits_requests(serve: Serve) -> None:
    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        context.set_trailing_metadata((("retry-after", "7"),))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "a private detail")
        return b""

    connection = await Connection.open(await serve(answer))
    with pytest.raises(RetrievalUnavailable, match=r"does not answer \(RESOURCE_EXHAUSTED\)"):
        await connection.current("docs")
    await connection.aclose()


async def test_a_server_that_hangs_is_given_up_within_its_limit_or_the_deadline(serve: Serve) -> None:
    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.Event().wait()
        return b""

    connection = await Connection.open(await serve(answer, timeout_seconds=0.3))
    with pytest.raises(RetrievalUnavailable, match=r"within 0\.3 s"):
        await connection.current("docs")
    retriever = ServerRetriever(connection, VERSION, Bm25Encoder())
    with (
        request.opened(RequestContext(deadline=time.monotonic() + 0.05)),
        pytest.raises(DeadlineTooShort, match="vector store"),
    ):
        await retriever.search(["a question"], 3)
    await retriever.aclose()


@pytest.mark.parametrize("failures", [0, 1, ATTEMPTS - 1, ATTEMPTS])
async def test_a_lost_connection_is_repeated(serve: Serve, failures: int) -> None:
    calls = 0

    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        nonlocal calls
        calls += 1
        if calls <= failures:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a private detail")
        counted = CountResponse(result=CountResult(count=VERSION.passages))
        return bytes(counted.SerializeToString())

    connection = await Connection.open(await serve(answer))
    if failures < ATTEMPTS:
        assert await connection.intact(VERSION)
    else:
        with pytest.raises(RetrievalUnavailable, match="UNAVAILABLE"):
            await connection.intact(VERSION)
    assert calls == min(failures + 1, ATTEMPTS)
    await connection.aclose()


async def test_what_changes_collections_is_not_repeated(serve: Serve) -> None:
    calls = 0

    async def answer(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        nonlocal calls
        calls += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "a private detail")
        return b""

    connection = await Connection.open(await serve(answer))
    with pytest.raises(RetrievalUnavailable, match="UNAVAILABLE"):
        await connection.delete(VERSION)
    await connection.aclose()
    assert calls == 1


def test_what_is_repeated_exists() -> None:
    (policy,) = SERVICE_CONFIG["methodConfig"]
    for name in policy["name"]:
        service = descriptor_pool.Default().FindServiceByName(name["service"])
        assert "method" not in name or name["method"] in service.methods_by_name


async def test_nobody_there(unused_tcp_port: int, tmp_path: Path) -> None:
    values = {"qdrant_url": "http://127.0.0.1", "qdrant_grpc_port": unused_tcp_port, "data_dir": tmp_path}
    settings = load_settings(values, environ={})
    with pytest.raises(RetrievalUnavailable, match="does not answer"):
        await open_retriever(settings)
    with pytest.raises(RetrievalUnavailable, match="does not answer"):
        await run(settings, [Document("1", "", "text " * 50)])


@pytest.mark.parametrize("url", ["ftp://host", "http://host:port", "http://"])
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigInvalid, match="SLIPWAY_QDRANT_URL"):
        await Connection.open(ServerConfig(url))
