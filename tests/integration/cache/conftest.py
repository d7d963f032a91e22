# SPDX-License-Identifier: Apache-2.0
"""A provider with a ledger, LM stacks over one folder, and a network file system."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from slipway_server.simulate.config import Behaviour, SimulatorConfig
from slipway_server.simulate.server import Provider

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Answers after 0.3 s."""
    behaviour = Behaviour(latency_seconds=0.3, answer="text", text="[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]")
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(Provider(SimulatorConfig(behaviour=behaviour)))
