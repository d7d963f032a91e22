# SPDX-License-Identifier: Apache-2.0
"""The cache on a real network file system: one GlusterFS volume, mounted twice."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import cache_sharing as sharing
import pytest
from cache_fleet import Fleet
from cache_killing import check
from cache_network import NetworkVolume

from slipway_server.cache import CacheConfig, SharedCache
from slipway_server.cache.properties import CHECKS
from slipway_server.config import load_settings
from slipway_server.simulate.server import Provider

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def folders(volume: NetworkVolume, name: str) -> list[Path]:
    """Two processes per mount."""
    return [volume.one / name, volume.two / name, volume.one / name, volume.two / name]


def test_every_entry_is_shared(network_volume: NetworkVolume) -> None:
    """Also entries that a host has looked for in vain before."""
    four = folders(network_volume, "sharing")
    total = 4 * sharing.ENTRIES
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(sharing.read, four, repeat(4))) == [{"absent": total}] * 4
        assert list(pool.map(sharing.write, four, range(4))) == [sharing.ENTRIES] * 4
        assert list(pool.map(sharing.read, four, repeat(4))) == [{"right": total}] * 4


async def test_killed_at_random_while_gc_runs(network_volume: NetworkVolume, tmp_path: Path) -> None:
    four = folders(network_volume, "killed")
    await check(four, tmp_path / "reports", reads=20_000, kills=2, life_seconds=3)


async def test_one_call_for_the_fleet(network_volume: NetworkVolume, provider: Provider) -> None:
    provider.configure(latency_seconds=1.0)
    fleet = await Fleet.start(folders(network_volume, "fleet")[:3], provider.base_url, calls=20)
    await fleet.go()
    found = await fleet.answers()
    assert found.total() == 60
    assert found["Paris miss"] == 1
    assert provider.ledger.count() == 1


async def test_a_killed_leader_is_replaced_by_one_other(network_volume: NetworkVolume, provider: Provider) -> None:
    provider.configure(latency_seconds=4.0)
    three = folders(network_volume, "leader")[:3]
    fleet = await Fleet.start(three, provider.base_url, calls=20, lease_seconds=4.0)
    await fleet.go()
    async with asyncio.timeout(30):
        while not provider.in_flight:
            await asyncio.sleep(0.05)
    await fleet.kill_leader(three[0])
    found = await fleet.answers()
    assert found.total() == 40
    assert found["Paris miss"] == 1
    assert [entry.outcome for entry in provider.ledger.entries] == ["aborted", "ok"]


async def test_the_doctor_finds_it_healthy(network_volume: NetworkVolume) -> None:
    said, codes = await examined(folders(network_volume, "doctor")[:2])
    assert said[0] == said[1]
    verdicts = {finding["name"]: finding["verdict"] for finding in said[0]}
    assert list(verdicts) == list(CHECKS)
    needed = ("atomic rename", "close-to-open", "exclusive create")
    assert {name: verdicts[name] for name in needed} == dict.fromkeys(needed, "ok"), said[0]
    assert codes == [0, 0]


async def examined(places: list[Path]) -> tuple[list[Any], list[int | None]]:
    """What the doctor says and how it exits, run on both hosts at the same time."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from slipway_server.cli import main; main()", "cache", "doctor", "--json"),
            env={**os.environ, "DSPY_CACHEDIR": str(folder)},
            stdout=asyncio.subprocess.PIPE,
        )
        for folder in places
    ]
    said = [json.loads((await process.communicate())[0]) for process in processes]
    return said, [process.returncode for process in processes]


async def test_a_server_that_hangs_fails_no_request(network_volume: NetworkVolume) -> None:
    """The volume's server is stopped as by a dead network: reads and writes then hang in the kernel."""
    settings = load_settings({"cache_dir": network_volume.one / "hang", "cache_memory_bytes": 0}, environ={})
    shared = SharedCache(CacheConfig.from_settings(settings))
    await shared.start()
    await asyncio.to_thread(shared.put, ASK, {"n": 1})
    await shared.volume.flush()
    network_volume.server.suspend()
    slowest = 0.0
    try:
        stop = time.monotonic() + 15
        while time.monotonic() < stop:
            started = time.monotonic()
            await asyncio.gather(*[asyncio.to_thread(shared.get, {**ASK, "seed": n}) for n in range(20)])
            await asyncio.to_thread(shared.put, ASK, {"n": 2})
            slowest = max(slowest, time.monotonic() - started)
            await asyncio.sleep(0.1)
    finally:
        network_volume.server.resume()
    assert 0.4 < slowest < 3
    async with asyncio.timeout(60):
        while await asyncio.to_thread(shared.get, ASK) is None:
            await asyncio.sleep(0.5)
    await shared.aclose()
