# SPDX-License-Identifier: Apache-2.0
"""`share`: the limit divided by the pods that are alive, where the provider sends no headers.

    pacer = SharePacer({"requests": 600.0}, now=time.monotonic, pods=4)

Evenly spaced (GCRA without burst). 429s trim the share, successes let it recover. No pod can use what another leaves:
with uneven load two thirds of the quota is what to expect.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Final

from slipway_server.lm.pacing.carry import Carry
from slipway_server.lm.pacing.clock import SteadyClock
from slipway_server.lm.pacing.types import DIMENSIONS, Levels, Need, PacerFacts
from slipway_server.request import TrafficClass


class SharePacer:
    """See the module."""

    lanes: Final = False
    kind: Final = "share"

    def __init__(
        self,
        limits_per_minute: Mapping[str, float],
        *,
        now: Callable[[], float],
        pods: int = 1,
        rng: random.Random | None = None,
    ) -> None:
        self._clock = SteadyClock(now)
        self._rng = rng or random.Random()
        self._pods = max(1, pods)
        self._limits = {DIMENSIONS.index(name): limit / 60.0 for name, limit in limits_per_minute.items()}
        self._carry = {index: Carry(rate) for index, rate in self._limits.items()}
        self._next_slot = dict.fromkeys(self._limits, -math.inf)
        self._trim = 1.0
        self._cut_at = -math.inf
        self._hold_until = -math.inf

    def ready_at(self, cls: TrafficClass, need: Need) -> float:
        """When the next slot has come in every dimension and no pause is on."""
        return self._clock.outside(max(self._hold_until, *self._next_slot.values(), -math.inf))

    def book(self, cls: TrafficClass, need: Need) -> None:
        """Take the slot."""
        now = self._clock.time()
        for index in self._limits:
            due = self._carry[index].take(need[index])
            self._next_slot[index] = max(now, self._next_slot[index]) + due / self._rate(index)

    def succeeded(self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, used: Need | None) -> None:
        """Let the trim recover, and carry the difference to what was really used."""
        self._trim = min(1.0, self._trim * (1.0 + 0.02 * min(1.0, (self._clock.time() - self._cut_at) / 30.0)))
        if used is not None:
            for index, carry in self._carry.items():
                carry.settle(used[index] - need[index])

    def throttled(
        self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, retry_after: float | None
    ) -> None:
        """Trim once per round trip, and pause."""
        now = self._clock.time()
        if self._clock.inside(sent_at) > self._cut_at:
            self._trim, self._cut_at = max(0.1, self._trim * 0.85), now
        slowest = max((0.5 * max(1.0, need[index]) / self._rate(index) for index in self._limits), default=0.0)
        self._hold_until = max(self._hold_until, now + max(retry_after or 0.0, slowest) + self._rng.uniform(0.0, 0.5))

    def drain_seconds(self, cls: TrafficClass, total: Need) -> float:
        """At the share's rate, the worst dimension counts."""
        return max((total[index] / self._rate(index) for index in self._limits), default=0.0)

    def backlog(self, cls: TrafficClass, waiting: int) -> None:
        """Without effect."""

    def set_pods(self, pods: int) -> None:
        """The share changes with the next booking."""
        self._pods = max(1, pods)

    def facts(self) -> PacerFacts:
        """The share."""
        rates = dict.fromkeys(TrafficClass, self._rate(0)) if 0 in self._limits else {}
        return PacerFacts(rates, {}, None)

    def _rate(self, index: int) -> float:
        return self._limits[index] / self._pods * self._trim
