# SPDX-License-Identifier: Apache-2.0
"""A provider's stream in a task of its own, so that a slow reader does not hold the provider's slot.

    pump = Pump(events(), on_end=…)
    await pump.first()              # raises what the stream raises before its first event
    async for event in pump: …
    await pump.aclose()             # ends the task; the provider sees the connection close

The task reads ahead of its consumer, within bounds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from dspy import lm15

AHEAD_EVENTS = 8192
"""Events ahead of the reader at most; deltas are a few bytes each, so this bounds memory to a few megabytes."""


class Pump:
    """Reads `source` ahead of its consumer. Belongs to the running loop."""

    def __init__(self, source: AsyncGenerator[lm15.StreamEvent, None], *, on_end: Callable[[], None]) -> None:
        self._ahead: deque[lm15.StreamEvent] = deque()
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run(source))
        self._task.add_done_callback(lambda _: self._ended(on_end))

    async def first(self) -> None:
        """Return when the first event is there; raise what came instead of it."""
        try:
            await self._news.wait()
        except BaseException:
            await self.aclose()
            raise
        if not self._ahead:
            self._end()

    async def __aiter__(self) -> AsyncIterator[lm15.StreamEvent]:
        while True:
            while self._ahead:
                yield self._ahead.popleft()
                self._room.set()
            if self._task.done():
                self._end()
                return
            self._news.clear()
            await self._news.wait()

    async def aclose(self) -> None:
        """End the task and wait for it; what it raised is not raised again."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()

    def _ended(self, on_end: Callable[[], None]) -> None:
        on_end()
        self._news.set()

    def _end(self) -> None:
        """Raise what ended the stream, if it was not its end."""
        if self._task.cancelled():
            raise lm15.TimeoutError("the stream was ended by its time limit")
        self._task.result()

    async def _run(self, source: AsyncGenerator[lm15.StreamEvent, None]) -> None:
        async with aclosing(source):
            async for event in source:
                self._ahead.append(event)
                self._news.set()
                while len(self._ahead) >= AHEAD_EVENTS:
                    self._room.clear()
                    await self._room.wait()
