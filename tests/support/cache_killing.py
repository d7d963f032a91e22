# SPDX-License-Identifier: Apache-2.0
"""Runs processes that share a folder, and kills one of them every so often while gc runs (cache_hammer.py)."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

from slipway_server.cache import care
from slipway_server.cache.store import DiskStore

log = logging.getLogger(__name__)
HAMMER = Path(__file__).with_name("cache_hammer.py")
KEYS = 400
COUNTS = ("reads", "hits", "wrong", "failed", "faults")


async def hammered(
    folders: list[Path], reports: Path, *, reads: int, kills: int, life_seconds: float
) -> dict[str, int]:
    """Run processes over the folders, killing one every so often, until so many reads and so many kills."""

    async def start(number: int) -> Process:
        arguments = (folders[number % len(folders)], reports / str(number), str(KEYS))
        return await asyncio.create_subprocess_exec(sys.executable, HAMMER, *map(str, arguments))

    collector = await asyncio.create_subprocess_exec(sys.executable, HAMMER, folders[0], "gc")
    living = [await start(number) for number in range(4)]
    killed, total = 0, dict.fromkeys(COUNTS, 0)
    try:
        while total["reads"] < reads or killed < kills:
            await asyncio.sleep(random.uniform(0.5, 1.5) * life_seconds)
            assert collector.returncode is None
            victim = living.pop(random.randrange(len(living)))
            assert victim.returncode is None
            victim.send_signal(signal.SIGKILL)
            await victim.wait()
            living.append(await start(4 + killed))
            killed += 1
            total = await asyncio.to_thread(_total, reports)
    finally:
        for process in (*living, collector):
            process.kill()
            await process.wait()
    return {**total, "killed": killed}


def _total(reports: Path) -> dict[str, int]:
    lines = [line.split() for path in reports.iterdir() for line in path.read_text().splitlines()]
    whole = [list(map(int, line)) for line in lines if len(line) == len(COUNTS)]
    return {name: sum(line[column] for line in whole) for column, name in enumerate(COUNTS)}


async def check(folders: list[Path], reports: Path, **limits: Any) -> dict[str, int]:
    """What was counted, after asserting that nothing was wrong and nothing is damaged."""
    await asyncio.to_thread(reports.mkdir)
    found = await hammered(folders, reports, **limits)
    log.info("%s", found)
    assert (found["wrong"], found["failed"]) == (0, 0)
    assert found["hits"] > found["reads"] / 10
    verified = await asyncio.to_thread(lambda: care.verify(DiskStore(folders[-1]).folder))
    assert dict(verified.faults) == {}
    return found
