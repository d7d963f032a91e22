# SPDX-License-Identifier: Apache-2.0
"""What a server gives to the runtime so that answers are recorded and feedback is stored.

async with recording(settings) as (recorder, feedback):
    service = await open_service(settings, owner, recorder=recorder, feedback=feedback)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from slipway_server.config import Settings
from slipway_server.runtime.types import TakeFeedback
from slipway_server.traffic.config import TrafficConfig
from slipway_server.traffic.feedback import FeedbackStore
from slipway_server.traffic.recorder import Recorder


@asynccontextmanager
async def recording(settings: Settings) -> AsyncIterator[tuple[Recorder | None, TakeFeedback | None]]:
    """Recorder and feedback store for this block; both None where SLIPWAY_TRAFFIC_DIR is not set."""
    config = await asyncio.to_thread(TrafficConfig.from_settings, settings)
    if config is None:
        yield None, None
        return
    recorder, store = Recorder(config), FeedbackStore(config.folder, config.redactor)
    try:
        yield recorder, store.submit
    finally:
        store.close()
        await recorder.aclose()
