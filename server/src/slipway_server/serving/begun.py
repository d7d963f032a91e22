# SPDX-License-Identifier: Apache-2.0
"""A coroutine that has run until it waits for the first time, which for many is to their end.

    begun = Begun(coroutine)            # raises what the coroutine raises
    if begun.done:
        return begun.result
    async with asyncio.timeout(30):     # what only waiting needs
        return await begun

It belongs to the task that began it, which must await it unless it is done.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any


class Begun:
    """`done` says whether there is a `result`; else it has to be awaited, which may be done once."""

    __slots__ = ("_coroutine", "_waits_for", "done", "result")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.done = False
        self.result: Any = None
        try:
            self._waits_for = coroutine.send(None)
        except StopIteration as end:
            self.done, self.result = True, end.value

    def __await__(self) -> Generator[Any, Any, Any]:
        # What `yield from` does (PEP 380), from the second step on.
        coroutine, waits_for = self._coroutine, self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except BaseException as error:  # a cancellation, or the end of whoever awaits this
                    waits_for = coroutine.throw(error)
                else:
                    waits_for = coroutine.send(sent)
        except StopIteration as end:
            return end.value
