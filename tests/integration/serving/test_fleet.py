# SPDX-License-Identifier: Apache-2.0
"""Three servers that share a cache folder ask the provider once for what many callers ask at the same time."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from slipway_client import AsyncSlipwayClient, SlipwayClientError
from slipway_server.simulate import Provider, SimulatorConfig

SLIPWAY = str(Path(sys.executable).with_name("slipway"))
QUESTION = "In which year was Port Callow founded?"


class Pod(NamedTuple):
    """A server process and a client of it that does not repeat calls."""

    process: asyncio.subprocess.Process
    client: AsyncSlipwayClient


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider(SimulatorConfig()) as running:
        yield running


@pytest.fixture
async def pods(isles: Path, tmp_path: Path, provider: Provider) -> AsyncIterator[list[Pod]]:
    """Three pods over one volume; the ledger is empty once they are ready."""
    environ = os.environ | {
        "SLIPWAY_DATA_DIR": str(isles),
        "SLIPWAY_COLLECTION": "isles",
        "SLIPWAY_SCRATCH_DIR": str(tmp_path),
        "SLIPWAY_LM_MODEL": "openai/test",
        "SLIPWAY_LM_BASE_URL": provider.base_url,
        "SLIPWAY_LM_API_KEY": "k",
        "SLIPWAY_CACHE_LEASE_SECONDS": "1",
        "DSPY_CACHEDIR": str(tmp_path / "cache"),
    }
    async with AsyncExitStack() as stack:
        started = []
        for _ in range(3):
            process = await asyncio.create_subprocess_exec(
                *(SLIPWAY, "serve", "--allow-uncompiled", "--port", "0", "--metrics-port", "0", "--json"),
                env=environ,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            stack.push_async_callback(_end, process)
            started.append(process)
        made = []
        for process in started:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                facts = orjson.loads(await process.stdout.readline())
            client = await stack.enter_async_context(AsyncSlipwayClient(facts["target"], deadline_seconds=30))
            made.append(Pod(process, client))
        provider.reset()
        yield made


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_sixty_identical_calls_make_one_upstream(provider: Provider, pods: list[Pod]) -> None:
    provider.configure(latency_seconds=0.5)
    answers = await asyncio.gather(*(pods[number % 3].client.ask(QUESTION) for number in range(60)))
    assert len(provider.ledger.entries) == 1
    assert len({answer.answer for answer in answers}) == 1
    assert sorted(answer.receipt.attempts for answer in answers) == [0] * 59 + [1]


async def test_a_killed_pod_costs_one_more_call_and_nobody_elses_answer(provider: Provider, pods: list[Pod]) -> None:
    provider.configure(latency_seconds=1.0)
    leader, *others = pods
    lost = asyncio.gather(*(leader.client.ask(QUESTION, deadline_seconds=5) for _ in range(20)), return_exceptions=True)
    async with asyncio.timeout(60):
        while provider.in_flight == 0:
            await asyncio.sleep(0.01)
    waiting = asyncio.gather(*(others[number % 2].client.ask(QUESTION) for number in range(40)))
    await asyncio.sleep(0.3)
    leader.process.kill()
    answers = await waiting
    assert len({answer.answer for answer in answers}) == 1
    assert [entry.outcome for entry in provider.ledger.entries] == ["aborted", "ok"]
    assert all(isinstance(end, SlipwayClientError) for end in await lost)
