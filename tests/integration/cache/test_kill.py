# SPDX-License-Identifier: Apache-2.0
"""Processes that share a folder are killed at random while gc runs: no reader ever gets a wrong value or an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from cache_killing import check


async def test_killed_at_random(tmp_path: Path) -> None:
    found = await check([tmp_path / "volume"], tmp_path / "reports", reads=8_000, kills=3, life_seconds=1)
    assert found["faults"] == 0


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_killed_at_random_for_long(tmp_path: Path) -> None:
    found = await check([tmp_path / "volume"], tmp_path / "reports", reads=200_000, kills=10, life_seconds=2.5)
    assert found["faults"] == 0
