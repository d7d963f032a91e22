# SPDX-License-Identifier: Apache-2.0
"""Processes that share a folder are killed at random while gc runs: no reader ever gets a wrong value or an error."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from slipway_server.cache import care
from slipway_server.cache.store import DiskStore

log = logging.getLogger(__name__)
HAMMER = Path(__file__).with_name("hammer.py")
KEYS = 400
COUNTS = ("reads", "hits", "wrong", "failed", "faults")


async def hammered(folders: list[Path], reports: Path, *, reads: int, life_seconds: float) -> dict[str, int]:
    """Run processes over the folders, killing one every so often, until they have read so many times."""

    async def start(number: int) -> Process:
        arguments = (folders[number % len(folders)], reports / str(number), str(KEYS))
        return await asyncio.create_subprocess_exec(sys.executable, HAMMER, *map(str, arguments))

    collector = await asyncio.create_subprocess_exec(sys.executable, HAMMER, folders[0], "gc")
    living = [await start(number) for number in range(4)]
    started, total = 4, dict.fromkeys(COUNTS, 0)
    try:
        while total["reads"] < reads:
            await asyncio.sleep(random.uniform(0.5, 1.5) * life_seconds)
            assert collector.returncode is None
            victim = living.pop(random.randrange(len(living)))
            assert victim.returncode is None
            victim.send_signal(signal.SIGKILL)
            await victim.wait()
            living.append(await start(started))
            started += 1
            total = await asyncio.to_thread(_total, reports)
    finally:
        for process in (*living, collector):
            process.kill()
            await process.wait()
    return {**total, "killed": started - 4}


def _total(reports: Path) -> dict[str, int]:
    lines = [line.split() for path in reports.iterdir() for line in path.read_text().splitlines()]
    whole = [list(map(int, line)) for line in lines if len(line) == len(COUNTS)]
    return {name: sum(line[column] for line in whole) for column, name in enumerate(COUNTS)}


async def check(folders: list[Path], reports: Path, **limits: float) -> dict[str, int]:
    await asyncio.to_thread(reports.mkdir)
    found = await hammered(folders, reports, **limits)
    log.info("%s", found)
    assert (found["wrong"], found["failed"]) == (0, 0)
    assert found["hits"] > found["reads"] / 10
    verified = await asyncio.to_thread(lambda: care.verify(DiskStore(folders[-1]).folder))
    assert dict(verified.faults) == {}
    return found


async def test_killed_at_random(tmp_path: Path) -> None:
    found = await check([tmp_path / "volume"], tmp_path / "reports", reads=8_000, life_seconds=1.5)
    assert found["faults"] == 0
    assert found["killed"] >= 2


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_killed_at_random_for_long(tmp_path: Path) -> None:
    found = await check([tmp_path / "volume"], tmp_path / "reports", reads=200_000, life_seconds=2.5)
    assert found["faults"] == 0
    assert found["killed"] >= 10
