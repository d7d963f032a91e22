# SPDX-License-Identifier: Apache-2.0
"""`priced`: every pod steers by the provider's own `remaining`, so pods agree without messages.

    pacer = PricedPacer(PricedConfig(burst_seconds=60.0), {"requests": 600.0}, now=time.monotonic, pods=4)

The remaining quota acts as a price, as in RED/ECN and RCP: above a set point a pod goes faster than its share of the
limit, below it slower, exponentially, so that the loop gain (k * limit / size) does not depend on the number of pods.
Each traffic class has its own set point, which reserves the lower part of the bucket for the more urgent classes
(trunk reservation), across pods. A 429 is only the fallback signal. Several dimensions: the slowest decides.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from slipway_server.lm.pacing.bucket import Bucket
from slipway_server.lm.pacing.carry import Carry
from slipway_server.lm.pacing.clock import SteadyClock
from slipway_server.lm.pacing.types import DIMENSIONS, Levels, Need, PacerFacts
from slipway_server.request import TrafficClass

SET_POINTS: Final = {TrafficClass.INTERACTIVE: 0.15, TrafficClass.BATCH: 0.45, TrafficClass.EVALUATION: 0.65}
WEIGHTS: Final = {TrafficClass.INTERACTIVE: 1.0, TrafficClass.BATCH: 0.5, TrafficClass.EVALUATION: 0.5}

LEAVING_SECONDS = 10.0
"""Time constant with which pods that left are forgotten."""
JOINING_SECONDS = 15.0
"""A pod that joins takes so long to reach its pace: the others need a few round trips to see the level fall."""
JOINING_PART = 0.1
"""The part of its pace that it begins with."""


@dataclass(frozen=True, slots=True)
class PricedConfig:
    """Parameters of the control law; the defaults are those of the virtual-time simulator's table."""

    burst_seconds: float = 60.0
    """Size of the provider's bucket, in seconds of its limit; lowered by what headers and 429s say."""
    gain: float = 3.0
    """Most that the price may change the exponent of the rate."""
    loop_gain: float = 1.1
    """Bound of gain * limit * staleness / span, for stability."""
    integral_per_second: float = 0.05
    integral_bound: float = 2.8
    integral_leak_seconds: float = 300.0
    integral_leak_idle_seconds: float = 30.0
    yielding_gain: float = 1.5
    yielding_integral: float = 3.0
    """Factors with which batch and evaluation react below their set points: the level is then somebody else's."""
    floor: float = 0.05
    """Least rate, as a part of the pod's even share."""
    ceiling: float = 3.0
    """Highest rate, as a multiple of the whole limit."""
    jitter_seconds: float = 0.5
    """Added to every pause after a 429, so that pods do not come back together."""


@dataclass(slots=True)
class _Lane:
    """One class in one dimension, which is number `index` of DIMENSIONS."""

    index: int
    bucket: Bucket
    carry: Carry
    integral: float = 0.0
    integral_at: float = 0.0
    next_slot: float = 0.0
    last_sent: float = 0.0
    last_amount: float = 0.0


@dataclass(slots=True)
class _Class:
    set_point: float
    weight: float
    urgent: bool
    waiting: int = 0
    trim: float = 1.0
    cut_at: float = -math.inf
    hold_until: float = -math.inf
    lanes: dict[str, _Lane] = field(default_factory=dict)


class PricedPacer:
    """See the module. `limits_per_minute`: what is configured, by dimension; headers add to it and win over it."""

    lanes: Final = True
    kind: Final = "priced"

    def __init__(
        self,
        config: PricedConfig,
        limits_per_minute: Mapping[str, float],
        *,
        now: Callable[[], float],
        pods: int = 1,
        rng: random.Random | None = None,
    ) -> None:
        self._config = config
        self._clock = SteadyClock(now)
        self._pods = max(1, pods)
        self._pods_before = float(self._pods)
        self._pods_at = self._clock.time()
        self._rng = rng or random.Random()
        self._staleness = 2.0
        self._replies = 0
        self._classes = {
            cls: _Class(SET_POINTS[cls], WEIGHTS[cls], urgent=cls is TrafficClass.INTERACTIVE) for cls in TrafficClass
        }
        self._buckets: dict[str, Bucket] = {}
        for name, limit in limits_per_minute.items():
            self._add(name, limit)

    def _add(self, name: str, limit_per_minute: float) -> None:
        bucket = Bucket(limit_per_minute, self._config.burst_seconds, self._clock.time())
        self._buckets[name] = bucket
        for state in self._classes.values():
            state.lanes[name] = _Lane(
                DIMENSIONS.index(name), bucket, Carry(bucket.rate), integral_at=self._clock.time()
            )

    def ready_at(self, cls: TrafficClass, need: Need) -> float:
        """When the class's pause is over and its next slot has come in every dimension."""
        state = self._classes[cls]
        moment = state.hold_until
        for lane in state.lanes.values():
            if lane.next_slot > moment:
                moment = lane.next_slot
        return self._clock.outside(moment)

    def book(self, cls: TrafficClass, need: Need) -> None:
        """Take the slot; the next one is `need` divided by the present rate away."""
        now = self._clock.time()
        state = self._classes[cls]
        for lane in state.lanes.values():
            amount = need[lane.index]
            lane.bucket.sent(now, amount)
            due = lane.carry.take(amount)
            lane.next_slot = max(now, lane.next_slot) + self._seconds(state, lane, due, now)
            lane.last_sent, lane.last_amount = now, due

    def succeeded(self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, used: Need | None) -> None:
        """Learn level and staleness; let the trim recover; move the next slot to where the new price puts it."""
        now, sent_at = self._clock.time(), self._clock.inside(sent_at)
        state = self._classes[cls]
        self._replies += 1
        self._staleness += max(0.05, 1.0 / (self._replies + 4)) * (max(0.0, now - sent_at) - self._staleness)
        state.trim = min(1.0, state.trim * (1.0 + 0.02 * min(1.0, (now - state.cut_at) / 30.0)))
        for name, level in levels.items():
            if name not in self._buckets and level.limit_per_minute:
                self._add(name, level.limit_per_minute)
            if name in self._buckets:
                self._buckets[name].seen(level, sent_at)
        for lane in state.lanes.values():
            if used is not None:
                lane.carry.settle(used[lane.index] - need[lane.index])
            if lane.next_slot > now:
                lane.next_slot = max(now, lane.last_sent + self._seconds(state, lane, lane.last_amount, now))

    def throttled(
        self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, retry_after: float | None
    ) -> None:
        """The bucket was empty; slow the class down once per round trip, and pause it."""
        now, sent_at = self._clock.time(), self._clock.inside(sent_at)
        state = self._classes[cls]
        for name in self._exhausted(need, levels):
            surprised = self._buckets[name].emptied(sent_at)
            if sent_at > state.cut_at:
                lane = state.lanes[name]
                lane.integral = max(-self._config.integral_bound, lane.integral - 0.1)
                if surprised:
                    self._buckets[name].shrink()
        if sent_at > state.cut_at:
            state.trim = max(0.3, state.trim * 0.9)
            state.cut_at = now
        slowest = max(
            (0.5 * lane.last_amount / self._rate(state, lane, now) for lane in state.lanes.values()), default=0.0
        )
        pause = max(retry_after or 0.0, slowest) + self._rng.uniform(0.0, self._config.jitter_seconds)
        state.hold_until = max(state.hold_until, now + pause)

    def drain_seconds(self, cls: TrafficClass, total: Need) -> float:
        """At the class's present rates, the worst dimension counts."""
        now = self._clock.time()
        state = self._classes[cls]
        return max((self._seconds(state, lane, total[lane.index], now) for lane in state.lanes.values()), default=0.0)

    def backlog(self, cls: TrafficClass, waiting: int) -> None:
        """A pod without a backlog does not ask for more than its share."""
        self._classes[cls].waiting = waiting

    def set_pods(self, pods: int) -> None:
        """The even share to start from; being wrong by 4 costs little where the bucket holds 6 s or more.

        Fewer pods count only gradually: those that leave still send what they had queued.
        """
        now = self._clock.time()
        self._pods_before, self._pods, self._pods_at = max(pods, self._pods_now(now)), max(1, pods), now

    def _pods_now(self, now: float) -> float:
        if self._pods_before <= self._pods:
            return self._pods
        return self._pods + (self._pods_before - self._pods) * math.exp((self._pods_at - now) / LEAVING_SECONDS)

    def facts(self) -> PacerFacts:
        """Rates by class, fill of each bucket, age of the newest header."""
        now = self._clock.time()
        rates = {
            cls: 1.0 / self._seconds(state, state.lanes["requests"], 1.0, now)
            for cls, state in self._classes.items()
            if "requests" in state.lanes
        }
        known = {name: bucket for name, bucket in self._buckets.items() if bucket.level is not None}
        ratios = {name: min(1.0, (bucket.level or 0.0) / bucket.size) for name, bucket in known.items()}
        ages = [now - bucket.level_at for bucket in known.values()]
        return PacerFacts(rates, ratios, min(ages, default=None))

    def _seconds(self, state: _Class, lane: _Lane, amount: float, now: float) -> float:
        """Time that the class needs for `amount`; longer while it joins others, by no more than that still takes."""
        seconds = amount / self._rate(state, lane, now)
        left = lane.bucket.known_at + JOINING_SECONDS - now
        if left <= 0 or self._pods == 1:
            return seconds
        part = 1.0 - (1.0 - JOINING_PART) * min(1.0, left / JOINING_SECONDS)
        return min(seconds / part, seconds + left)

    def _rate(self, state: _Class, lane: _Lane, now: float) -> float:
        """Units a second for the class: even share * trim * exp(price + integral of the price)."""
        config, bucket = self._config, lane.bucket
        flow = bucket.rate * max(self._staleness, 0.25)
        set_point = self._set_point(state, bucket, flow)
        error = 0.0 if bucket.level is None else bucket.estimate(now) - set_point
        span = bucket.size - set_point if error > 0 else set_point
        price = error / max(span, 1e-9)
        gain = min(config.gain, config.loop_gain * span / flow)
        speed = config.integral_per_second * min(1.0, bucket.size / flow)
        if price < 0 and not state.urgent:
            gain *= config.yielding_gain
            speed *= config.yielding_integral
        elapsed = min(now - lane.integral_at, 5.0)
        lane.integral_at = now
        if price < 0 or state.waiting:
            lane.integral += speed * price * elapsed
        leak = config.integral_leak_seconds if state.waiting else config.integral_leak_idle_seconds
        bound = config.integral_bound
        lane.integral = min(bound, max(-bound, lane.integral * math.exp(-elapsed / leak)))
        share = state.weight * bucket.rate / self._pods_now(now)
        rate = share * state.trim * math.exp(gain * price + lane.integral)
        return min(config.ceiling * bucket.rate, max(config.floor * share, rate))

    def _set_point(self, state: _Class, bucket: Bucket, flow: float) -> float:
        """The class's part of the bucket; the urgent class goes lower where headers are fresh enough for it.

        Not below what flows in while a header is under way, and half as much again for a pod that joins meanwhile.
        """
        if state.urgent:
            return min(state.set_point * bucket.size, max(1.5 * flow, 0.02 * bucket.size))
        return state.set_point * bucket.size

    def _exhausted(self, need: Need, levels: Levels) -> list[str]:
        """The dimensions that the 429 was about, as far as its headers tell."""
        told = {name: levels[name] for name in self._buckets if name in levels}
        if not told:
            return list(self._buckets)
        short = [name for name, level in told.items() if level.remaining < max(1.0, need[DIMENSIONS.index(name)])]
        return short or [min(told, key=lambda name: told[name].remaining / self._buckets[name].size)]
