# SPDX-License-Identifier: Apache-2.0
"""What is known of one dimension of the provider's quota: a number that every pod sees in its replies' headers."""

from __future__ import annotations

import math
from collections import deque

from slipway_server.lm.pacing.types import Level

OWN_WINDOW_SECONDS = 30.0
DEMAND_SECONDS = 10.0
"""Time constant of the estimate of everyone's rate."""
FULL = 0.98
"""Above this share of the bucket its level says nothing about the rate: refill is lost."""


class Bucket:
    """A token bucket seen from outside: `rate` units a second flow in, up to `size`.

    Between two headers the level is predicted from refill, this process's own sends, and the others' share of the
    rate at which the level fell. All times are of one clock that does not run backwards.
    """

    def __init__(self, limit_per_minute: float, burst_seconds: float, now: float) -> None:
        self._burst_seconds = burst_seconds
        self._born = now
        self._own: deque[tuple[float, float]] = deque()
        self._own_total = 0.0
        self._previous: tuple[float, float] | None = None
        self._demand: float | None = None
        self.level: float | None = None
        """The newest `remaining`; None before the first header."""
        self.level_at = now
        """When the attempt left that brought it."""
        self.known_at = -math.inf
        """When the first one left."""
        self.set_limit(limit_per_minute)
        self.size = self._believed_size()

    def set_limit(self, limit_per_minute: float) -> None:
        """The header's limit, or the configured one."""
        self.rate = limit_per_minute / 60.0

    def _believed_size(self) -> float:
        return max(2.0, self.rate * self._burst_seconds)

    def sent(self, now: float, amount: float) -> None:
        """This process takes `amount`."""
        self._own.append((now, amount))
        self._own_total += amount

    def seen(self, level: Level, sent_at: float) -> None:
        """A header, on the reply to what left at `sent_at`; older ones than the newest are ignored."""
        if sent_at < self.level_at and self.level is not None:
            return
        if level.limit_per_minute:
            self.set_limit(level.limit_per_minute)
        self._learn_size(level)
        self._learn_demand(level.remaining, sent_at)
        self._know(level.remaining, sent_at)

    def emptied(self, sent_at: float) -> bool:
        """A 429 to what left at `sent_at`. True where the level was believed to be well above nothing."""
        surprise = self.level is not None and self.estimate(sent_at) > 0.2 * self.size
        if sent_at >= self.level_at or self.level is None:
            self._know(0.0, sent_at)
            self._previous = None
        return surprise

    def estimate(self, now: float) -> float:
        """The level now, between 0 and `size`; call only where `level` is known."""
        assert self.level is not None
        age = max(0.0, now - self.level_at)
        own = 0.0
        for at, amount in reversed(self._own):
            if at <= self.level_at:
                break
            own += amount
        others = (self.rate if self._demand is None else self._demand) - self._own_rate(now)
        inflow = self.rate - others if others > 0 else self.rate
        return min(self.size, max(0.0, self.level + inflow * age - own))

    def shrink(self) -> None:
        """The bucket is smaller than believed (a provider that enforces a minute's limit by the second)."""
        self.size = max(self.size / 2, self.rate, 2.0)

    def _know(self, level: float, sent_at: float) -> None:
        if self.level is None:
            self.known_at = sent_at
        self.level, self.level_at = level, sent_at

    def _own_rate(self, now: float) -> float:
        own = self._own
        while own and own[0][0] < now - OWN_WINDOW_SECONDS:
            self._own_total -= own.popleft()[1]
        return self._own_total / min(OWN_WINDOW_SECONDS, max(now - self._born, 1.0))

    def _learn_size(self, level: Level) -> None:
        """The level plus what flows in until the bucket is full again is its size."""
        most = self._believed_size()
        if level.reset_seconds is None:
            self.size = min(most, max(self.size, level.remaining))
            return
        size = min(most, max(level.remaining + self.rate * level.reset_seconds, self.rate, 2.0))
        # Resets in whole seconds say too little more often than too much: up at once, down slowly.
        smaller = size < self.size and self.level is not None
        self.size = self.size + 0.1 * (size - self.size) if smaller else size

    def _learn_demand(self, remaining: float, sent_at: float) -> None:
        if self._previous is None:
            self._previous = (sent_at, remaining)
            return
        elapsed = sent_at - self._previous[0]
        if elapsed < 1.0:
            return
        if remaining < FULL * self.size:
            demand = self.rate - (remaining - self._previous[1]) / elapsed
            weight = 1.0 - math.exp(-elapsed / DEMAND_SECONDS)
            smoothed = demand if self._demand is None else self._demand + weight * (demand - self._demand)
            self._demand = min(max(smoothed, 0.0), 3.0 * self.rate)
        else:
            self._demand = None
        self._previous = (sent_at, remaining)
