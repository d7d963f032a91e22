# SPDX-License-Identifier: Apache-2.0
"""Servers as real processes: signals, restarts under load, ports."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import aiohttp
import fake_service
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from slipway_client import AsyncSlipwayClient, SlipwayClientError

SCRIPT = Path(fake_service.__file__)


@dataclass
class Process:
    """A server process that has said that it is ready."""

    handle: asyncio.subprocess.Process
    grpc_port: int
    metrics_port: int

    async def called(self) -> None:
        """Wait until callers have found it."""
        series = 'slipway_rpc_duration_seconds_count{code="OK",method="slipway.rag.v1.RagService/Ask"}'
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as response:
                    if series in await response.text():
                        return
                await asyncio.sleep(0.05)

    async def stopped(self) -> int:
        """SIGTERM, then its exit code."""
        self.handle.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self.handle.wait()


Start: TypeAlias = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(port, sleep_seconds, drain_seconds)`; what still runs in the end is killed."""
    async with AsyncExitStack() as stack:

        async def started(port: int = 0, sleep_seconds: float = 0.0, drain_seconds: float = 0.0) -> Process:
            arguments = (sys.executable, str(SCRIPT), str(port), str(sleep_seconds), str(drain_seconds))
            handle = await asyncio.create_subprocess_exec(
                *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
            stack.push_async_callback(ended, handle)
            assert handle.stdout is not None
            async with asyncio.timeout(30):
                line = await handle.stdout.readline()
            return Process(handle, *map(int, line.split()))

        async def ended(handle: asyncio.subprocess.Process) -> None:
            if handle.returncode is None:
                handle.kill()
                await handle.wait()

        yield started


async def test_sigterm_finishes_every_request_under_way(start: Start) -> None:
    server = await start(0, 0.5, 0.2)
    async with AsyncSlipwayClient(f"127.0.0.1:{server.grpc_port}") as client:
        calls = [asyncio.create_task(client.ask(f"question {n}")) for n in range(50)]
        await asyncio.sleep(0.2)
        code = await server.stopped()
        answers = await asyncio.gather(*calls)
    assert code == 0
    assert {answer.answer for answer in answers} == {f"echo question {n}" for n in range(50)}


async def test_a_second_signal_ends_at_once(start: Start) -> None:
    server = await start(0, 0.0, 60.0)
    server.handle.send_signal(signal.SIGTERM)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel, asyncio.timeout(10):
        async for state in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            if state.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                break
    assert await server.stopped() == -signal.SIGTERM


async def test_a_taken_port_ends_the_process_with_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        arguments = (sys.executable, str(SCRIPT), str(other.getsockname()[1]), "0", "0")
        process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
        _, stderr = await process.communicate()
    lines = [line for line in stderr.decode().splitlines() if not line.startswith("{")]
    assert process.returncode == 1
    assert "Traceback" not in stderr.decode()
    assert "another process listens on port" in lines[-1]


@pytest.mark.parametrize("restarts", [4, pytest.param(30, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_restarts_of_two_servers_under_fifty_callers_lose_nothing(start: Start, restarts: int) -> None:
    servers = [await start(0, 0.02, 0.5), await start(0, 0.02, 0.5)]
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.grpc_port}" for server in servers)
    outcomes: Counter[str] = Counter()
    done = asyncio.Event()

    async def caller(client: AsyncSlipwayClient) -> None:
        while not done.is_set():
            try:
                await client.ask("why?", deadline_seconds=10)
                outcomes["OK"] += 1
            except SlipwayClientError as error:
                outcomes[f"{error.code.name} {error.reason}: {error.message[:60]}"] += 1

    started = time.monotonic()
    async with AsyncSlipwayClient(target) as client, asyncio.TaskGroup() as callers:
        for _ in range(50):
            callers.create_task(caller(client))
        for number in range(restarts):
            old = servers[number % 2]
            assert await old.stopped() == 0
            servers[number % 2] = await start(old.grpc_port, 0.02, 0.5)
            # What minReadySeconds is for in a rollout: callers find the new server before the next one stops.
            await servers[number % 2].called()
        done.set()
    print(f"{restarts} restarts in {time.monotonic() - started:.0f} s: {dict(outcomes)}")  # noqa: T201
    assert set(outcomes) == {"OK"}
    assert outcomes["OK"] > 50 * restarts
