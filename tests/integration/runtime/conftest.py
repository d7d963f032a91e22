# SPDX-License-Identifier: Apache-2.0
"""A service over settings, closed at the end of the block; a provider for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from slipway_server.config import Settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.runtime.service import ProgramService, open_service
from slipway_server.simulate import Provider, SimulatorConfig

Serving = Callable[[Settings], AbstractAsyncContextManager[ProgramService]]


@pytest.fixture
def serving() -> Serving:
    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[ProgramService]:
        service = await open_service(settings, OwnerLoop.of_running_loop())
        try:
            yield service
        finally:
            await service.aclose()

    return opened


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider(SimulatorConfig()) as running:
        yield running
