# SPDX-License-Identifier: Apache-2.0
"""`fixed`: exactly the configured limit, by aiolimiter's leaky bucket; for one process, or a share of the key each.

    pacer = FixedPacer({"requests": 600, "tokens": 90_000}, burst_seconds=60)

At most burst + elapsed * limit leave in any period; an attempt larger than the bucket waits for, and counts as, a whole
one, so the bucket should hold the largest prompt. AsyncLimiter lets small amounts overtake large ones; the gate asks
for the head of its queue only, so that cannot happen here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from aiolimiter import AsyncLimiter

from slipway_server.lm.pacing.carry import Carry
from slipway_server.lm.pacing.types import DIMENSIONS, Levels, Need, PacerFacts
from slipway_server.request import TrafficClass


class FixedPacer:
    """Limits per minute by dimension; the bucket holds `burst_seconds` of them. Lives on the running event loop."""

    lanes: Final = False
    kind: Final = "fixed"

    def __init__(
        self,
        limits_per_minute: Mapping[str, float],
        burst_seconds: float = 60.0,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._limits = [
            (DIMENSIONS.index(name), _limiter(limit, burst_seconds), Carry(limit / 60.0))
            for name, limit in limits_per_minute.items()
        ]
        self._rate = limits_per_minute.get("requests", float("inf")) / 60.0

    def ready_at(self, cls: TrafficClass, need: Need) -> float:
        """At once, or when every bucket has room for certain."""
        wait = 0.0
        for index, limiter, carry in self._limits:
            amount = min(carry.due(need[index]), limiter.max_rate)
            if not limiter.has_capacity(amount):
                wait = max(wait, amount * limiter.time_period / limiter.max_rate)
        return self._now() + wait if wait else -math.inf

    def book(self, cls: TrafficClass, need: Need) -> None:
        """Take the room."""
        for index, limiter, carry in self._limits:
            _take(limiter, min(carry.take(need[index]), limiter.max_rate))

    def succeeded(self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, used: Need | None) -> None:
        """The next attempt pays, or gets, the difference to what was really used."""
        if used is not None:
            for index, _, carry in self._limits:
                carry.settle(used[index] - need[index])

    def throttled(
        self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, retry_after: float | None
    ) -> None:
        """The limit is the operator's; a 429 does not move it."""

    def drain_seconds(self, cls: TrafficClass, total: Need) -> float:
        """At the limit's rate, the worst dimension counts."""
        return max(
            (total[index] * limiter.time_period / limiter.max_rate for index, limiter, _ in self._limits), default=0.0
        )

    def backlog(self, cls: TrafficClass, waiting: int) -> None:
        """Without effect."""

    def set_pods(self, pods: int) -> None:
        """Without effect: the configured limit is this process's."""

    def facts(self) -> PacerFacts:
        """The configured rate."""
        return PacerFacts(dict.fromkeys(TrafficClass, self._rate), {}, None)


def _limiter(limit_per_minute: float, burst_seconds: float) -> AsyncLimiter:
    # A bucket below one request would never let one through.
    seconds = max(burst_seconds, 60.0 / limit_per_minute)
    return AsyncLimiter(limit_per_minute * seconds / 60.0, seconds)


def _take(limiter: AsyncLimiter, amount: float) -> None:
    """Acquire room that is known to be there: then the coroutine ends without suspending, so no task is needed."""
    acquire = limiter.acquire(amount)
    try:
        acquire.send(None)
    except StopIteration:
        return
    acquire.close()
    raise RuntimeError("book without ready_at: the limiter has no room")
