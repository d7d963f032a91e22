# SPDX-License-Identifier: Apache-2.0
"""Waiting for the volume: what ends the wait, and what the end of the wait leaves behind."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from slipway_server.cache.record import Miss
from slipway_server.cache.store import DiskStore
from slipway_server.cache.volume import READERS, Volume

DIGEST = "ab" * 32


async def test_a_cancelled_read_that_has_not_begun_is_never_made(tmp_path: Path, ops) -> None:
    volume = Volume(DiskStore(tmp_path, ops=ops), budget_seconds=60)
    await volume.prepare()
    ops.hanging.add("read")
    stuck = [asyncio.create_task(volume.read(DIGEST)) for _ in range(READERS)]
    async with asyncio.timeout(60):
        while ops.calls.get("read", 0) < READERS:
            await asyncio.sleep(0.01)
    waiting = asyncio.create_task(volume.read(DIGEST))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ops.recover()
    assert await asyncio.gather(*stuck) == [Miss.ABSENT] * READERS
    assert await volume.read(DIGEST) is Miss.ABSENT
    assert ops.calls["read"] == READERS + 1
    volume.close()


def test_a_read_that_ends_after_its_loop_disturbs_nobody(tmp_path: Path, ops, caplog: pytest.LogCaptureFixture) -> None:
    before = set(threading.enumerate())
    volume = Volume(DiskStore(tmp_path, ops=ops), budget_seconds=0.01)
    ops.hanging.add("read")
    assert asyncio.run(volume.read(DIGEST)) is Miss.TIMEOUT
    volume.close()
    ops.recover()
    with caplog.at_level(logging.DEBUG, "concurrent.futures"):
        for thread in set(threading.enumerate()) - before:
            thread.join(60)
            assert not thread.is_alive()
    assert [record for record in caplog.records if record.name == "concurrent.futures"] == []


async def test_a_fault_of_our_own_reaches_the_caller(tmp_path: Path) -> None:
    volume = Volume(DiskStore(tmp_path), budget_seconds=60)
    with pytest.raises(ZeroDivisionError):
        await volume.call(lambda: 1 // 0)
    volume.close()
