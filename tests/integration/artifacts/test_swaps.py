# SPDX-License-Identifier: Apache-2.0
"""Promotions and rollbacks under callers of a real server: nothing fails, nothing is mixed, memory stays flat."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import programs
import psutil
import pytest
from artifact_drafts import draft

from slipway_client import AsyncSlipwayClient
from slipway_server.artifacts import Store, save

SLIPWAY = str(Path(sys.executable).with_name("slipway"))
PROGRAM = "programs:Versioned"
MIB = 1024 * 1024


@pytest.fixture
def versions(tmp_path: Path) -> dict[str, str]:
    """A store with two artifacts whose program answers A and B; digest → answer. A is current."""
    store = Store(tmp_path / "store")
    found = {}
    for version in ("A", "B"):
        program = programs.Versioned()
        program.answer.signature = program.answer.signature.with_instructions(f"version {version}")
        path = save(program, draft(PROGRAM), store.folder)
        found[store.find(path.name).manifest.digest] = version
    store.promote(next(iter(found)))
    return found


@pytest.fixture
async def server(
    versions: dict[str, str], isles: Path, tmp_path: Path
) -> AsyncIterator[tuple[str, psutil.Process, Callable[[], str]]]:
    """Target, process and log of `slipway serve` on the store."""
    environ = os.environ | {
        "PYTHONPATH": str(Path(programs.__file__).parent),
        "SLIPWAY_DATA_DIR": str(isles),
        "SLIPWAY_COLLECTION": "isles",
        "SLIPWAY_GRPC_PORT": "0",
        "SLIPWAY_METRICS_PORT": "0",
        "SLIPWAY_DRAIN_SECONDS": "0.2",
        "SLIPWAY_HOT_RELOAD": "1",
        "SLIPWAY_WATCH_SECONDS": "0.05",
        "SLIPWAY_LOG_FORMAT": "json",
        "SLIPWAY_LOG_LEVEL": "error",
        "DSPY_CACHEDIR": str(tmp_path / "cache"),
    }
    log = tmp_path / "server.log"
    with log.open("wb") as stderr:
        command = (SLIPWAY, "serve", "--program", PROGRAM, "--artifact", str(tmp_path / "store"), "--json")
        process = await asyncio.create_subprocess_exec(
            *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=stderr
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            target = json.loads(await process.stdout.readline())["target"]
        yield target, psutil.Process(process.pid), lambda: log.read_text(encoding="utf-8")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@pytest.mark.parametrize(
    ("swaps", "callers"), [(6, 10), pytest.param(200, 50, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
async def test_swaps_under_callers(
    swaps: int, callers: int, versions: dict[str, str], server: Any, tmp_path: Path
) -> None:
    target, process, log = server
    store, (first, second) = Store(tmp_path / "store"), versions
    stop, answers, memory = asyncio.Event(), 0, []

    async with AsyncSlipwayClient(target) as client:

        async def caller(number: int) -> None:
            nonlocal answers
            while not stop.is_set():
                given = await client.predict({"question": f"Which version? {number}"})
                assert versions[given.receipt.artifact_digest] == given.outputs["answer"], "an answer of two artifacts"
                answers += 1
                await asyncio.sleep(0.02)

        async def swapped_to(digest: str) -> None:
            async with asyncio.timeout(30):
                while (await client.predict({"question": "Which version?"})).receipt.artifact_digest != digest:
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(caller(number))
            for swap in range(swaps):
                if swap % 2:
                    await asyncio.to_thread(store.rollback)
                else:
                    await asyncio.to_thread(store.promote, second)
                await swapped_to((second, first)[swap % 2])
                memory.append(process.memory_info().rss / MIB)
            stop.set()
    assert answers > swaps * callers / 10
    assert await asyncio.to_thread(log) == ""
    print(f"{answers} answers, {swaps} swaps; RSS {memory[len(memory) // 4]:.1f} → {memory[-1]:.1f} MiB")  # noqa: T201
    assert memory[-1] - memory[len(memory) // 4] < 8
