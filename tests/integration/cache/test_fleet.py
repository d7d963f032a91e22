# SPDX-License-Identifier: Apache-2.0
"""60 identical calls over 3 processes that share a folder: one goes upstream, also where its process is killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cache_fleet import Fleet

from slipway_server.simulate.server import Provider


async def test_one_call_for_the_fleet(tmp_path: Path, provider: Provider) -> None:
    provider.configure(latency_seconds=1.0)
    fleet = await Fleet.start([tmp_path] * 3, provider.base_url, calls=20)
    await fleet.go()
    found = await fleet.answers()
    assert found.total() == 60
    assert set(found) <= {"Paris miss", "Paris joined", "Paris disk", "Paris memory"}
    assert found["Paris miss"] == 1
    assert provider.ledger.count() == 1


async def test_a_killed_leader_is_replaced_by_one_other(tmp_path: Path, provider: Provider) -> None:
    provider.configure(latency_seconds=2.0)
    fleet = await Fleet.start([tmp_path] * 3, provider.base_url, calls=20, lease_seconds=1.0)
    await fleet.go()
    async with asyncio.timeout(30):
        while not provider.in_flight:
            await asyncio.sleep(0.05)
    await fleet.kill_leader(tmp_path)
    found = await fleet.answers()
    assert found.total() == 40
    assert found["Paris miss"] == 1
    assert [entry.outcome for entry in provider.ledger.entries] == ["aborted", "ok"]
