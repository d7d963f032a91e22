# SPDX-License-Identifier: Apache-2.0
"""A clock that never runs backwards, whatever the one below it does."""

from __future__ import annotations

from collections.abc import Callable


class SteadyClock:
    """`time()` never decreases; `outside(t)` is its value `t` on the clock below.

    Without this, a jump back by an hour would make every booked slot an hour away.
    """

    def __init__(self, below: Callable[[], float]) -> None:
        self._below = below
        self._offset = 0.0
        self._last = below()

    def time(self) -> float:
        """Now."""
        now = self._below() + self._offset
        if now < self._last:
            self._offset += self._last - now
            now = self._last
        self._last = now
        return now

    def inside(self, moment: float) -> float:
        """A moment of the clock below on this one."""
        return moment + self._offset

    def outside(self, moment: float) -> float:
        """A moment of this clock on the one below."""
        return moment - self._offset
