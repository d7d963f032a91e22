# SPDX-License-Identifier: Apache-2.0
"""Servers over real channels, on ports that the system picks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

import grpc
import pytest
from fake_service import FakeService

from slipway_server.runtime.types import Service
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.server import Server

Serve: TypeAlias = Callable[..., Awaitable[Server]]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(service, config)`: a server that is ready; `ready=False` leaves it as it starts."""
    async with AsyncExitStack() as stack:

        async def started(service: Service, config: ServingConfig | None = None, *, ready: bool = True) -> Server:
            server = Server(service, config or ServingConfig(drain_seconds=0))
            await server.start()
            stack.push_async_callback(server.stop, drain=False)
            if ready:
                await server.readiness.open()
            return server

        yield started


@pytest.fixture
async def channel(serve: Serve, service: FakeService) -> AsyncIterator[grpc.aio.Channel]:
    """A bare channel, as generated stubs in any language use it, to a ready server of `service`."""
    server = await serve(service)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as opened:
        yield opened
