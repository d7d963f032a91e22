# SPDX-License-Identifier: Apache-2.0
"""The current request follows its work and nobody else's."""

from __future__ import annotations

import asyncio
import threading
import time

from slipway_server import request
from slipway_server.request import RequestContext, TrafficClass


async def test_concurrent_requests_do_not_meet() -> None:
    async def work(name: str) -> str:
        with request.opened(RequestContext(request_id=name)):
            await asyncio.sleep(0)
            request.current().account.attempts += 1
            return await asyncio.to_thread(
                lambda: f"{request.current().request_id}:{request.current().account.attempts}"
            )

    assert await asyncio.gather(*(work(f"r{i}") for i in range(20))) == [f"r{i}:1" for i in range(20)]
    assert request.current_or_none() is None


def test_remaining_time_ends_at_zero() -> None:
    assert RequestContext().remaining_seconds() is None
    assert RequestContext(deadline=time.monotonic() - 5).remaining_seconds() == 0
    assert 4 < (RequestContext(deadline=time.monotonic() + 5).remaining_seconds() or 0) <= 5


def test_the_default_class_reaches_threads_that_nobody_told() -> None:
    seen: list[TrafficClass] = []
    with request.default_class(TrafficClass.EVALUATION):
        thread = threading.Thread(target=lambda: seen.append(request.current().traffic_class))
        thread.start()
        thread.join()
    assert seen == [TrafficClass.EVALUATION]
    assert request.current().traffic_class is TrafficClass.INTERACTIVE
