# SPDX-License-Identifier: Apache-2.0
"""What every test gets: a failing test where Slipway blocks an event loop, and no configuration from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Raises BlockingError where slipway_server blocks a running event loop."""
    with blockbuster_ctx("slipway_server") as guard:
        yield guard


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no SLIPWAY_… key but those that they set."""
    for key in list(os.environ):
        if key.startswith("SLIPWAY_") and key != "SLIPWAY_TEST_QDRANT_URL":
            monkeypatch.delenv(key)
