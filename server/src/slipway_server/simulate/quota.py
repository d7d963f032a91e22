# SPDX-License-Identifier: Apache-2.0
"""Quotas as providers keep them: requests and tokens per minute in a token bucket, a sliding or a fixed window.

    quota = KeyQuota(QuotaConfig(requests_per_minute=600, burst_seconds=6), clock=time.monotonic)
    verdict = quota.admit(tokens=250)
    if not verdict.admitted: …wait verdict.wait_seconds…
    quota.charge_tokens(120)        # what the answer used; negative gives back a reservation

Time comes from `clock` only, so the same classes run on a virtual clock. Kinds and the charging of rejected requests
follow what OpenAI and Anthropic document (see docs/simulator.md).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Clock = Callable[[], float]
Dimension = Literal["requests", "tokens"]
QuotaKind = Literal["bucket", "sliding", "fixed"]

_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """One key's limits on one model. A limit of None is no limit.

    Args:
        requests_per_minute, tokens_per_minute: The permitted rates.
        kind: "bucket" refills continuously; "sliding" counts the last window; "fixed" starts anew every window.
        burst_seconds: Size of a bucket, in seconds of its rate (60: a minute's worth may come at once).
        window_seconds: Length of a window; its limit is the rate times this.
        rejects_charged: A rejected request counts as well.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    kind: QuotaKind = "bucket"
    burst_seconds: float = 60.0
    window_seconds: float = 60.0
    rejects_charged: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """One dimension as rate-limit headers state it: per-minute limit, what is left, seconds until all is back."""

    limit: float
    remaining: float
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass. `wait_seconds` is 0 if so, inf if it never can (larger than the whole quota)."""

    admitted: bool
    wait_seconds: float
    exceeded: Dimension | None
    levels: Mapping[Dimension, Level]


class Quota(Protocol):
    """One dimension of one key."""

    def wait_seconds(self, amount: float) -> float:
        """Seconds until `amount` fits: 0 now, inf never."""
        ...

    def charge(self, amount: float) -> None:
        """Count `amount`, whether it fits or not; a negative amount is given back."""
        ...

    def level(self) -> Level:
        """What the headers say."""
        ...


class TokenBucket:
    """Refilled continuously with the rate, up to `burst_seconds` of it; debt is at most one burst."""

    def __init__(self, per_minute: float, burst_seconds: float, clock: Clock = time.monotonic) -> None:
        self._limit, self._rate = per_minute, per_minute / 60
        self._burst = max(1.0, self._rate * burst_seconds)
        self._clock = clock
        self._left, self._at = self._burst, clock()

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now

    def wait_seconds(self, amount: float) -> float:
        self._refill()
        if amount > self._burst + _EPSILON:
            return math.inf
        return 0.0 if self._left >= amount - _EPSILON else (amount - self._left) / self._rate

    def charge(self, amount: float) -> None:
        self._refill()
        self._left = min(self._burst, max(-self._burst, self._left - amount))

    def level(self) -> Level:
        self._refill()
        return Level(self._limit, max(0.0, self._left), (self._burst - self._left) / self._rate)


class SlidingWindow:
    """At most the limit within any `window_seconds`."""

    def __init__(self, per_minute: float, window_seconds: float, clock: Clock = time.monotonic) -> None:
        self._limit, self._window = per_minute, window_seconds
        self._capacity = max(1.0, per_minute / 60 * window_seconds)
        self._clock = clock
        self._log: deque[tuple[float, float]] = deque()
        self._used = 0.0

    def _expire(self) -> float:
        now = self._clock()
        while self._log and self._log[0][0] <= now - self._window:
            self._used -= self._log.popleft()[1]
        return now

    def wait_seconds(self, amount: float) -> float:
        now = self._expire()
        if amount > self._capacity + _EPSILON:
            return math.inf
        excess = self._used + amount - self._capacity
        if excess <= _EPSILON:
            return 0.0
        for at, spent in self._log:
            excess -= spent
            if excess <= _EPSILON:
                return at + self._window - now
        return self._window

    def charge(self, amount: float) -> None:
        self._log.append((self._expire(), amount))
        self._used += amount

    def level(self) -> Level:
        now = self._expire()
        reset = self._log[-1][0] + self._window - now if self._log else 0.0
        return Level(self._limit, max(0.0, self._capacity - self._used), reset)


class FixedWindow:
    """At most the limit from one multiple of `window_seconds` on the clock to the next."""

    def __init__(self, per_minute: float, window_seconds: float, clock: Clock = time.monotonic) -> None:
        self._limit, self._window = per_minute, window_seconds
        self._capacity = max(1.0, per_minute / 60 * window_seconds)
        self._clock = clock
        self._index, self._used = -1, 0.0

    def _turn(self) -> float:
        """Seconds to the next window."""
        now = self._clock()
        index = math.floor(now / self._window)
        if index != self._index:
            self._index, self._used = index, 0.0
        return (index + 1) * self._window - now

    def wait_seconds(self, amount: float) -> float:
        left = self._turn()
        if amount > self._capacity + _EPSILON:
            return math.inf
        return 0.0 if self._used + amount <= self._capacity + _EPSILON else left

    def charge(self, amount: float) -> None:
        self._turn()
        self._used = max(0.0, self._used + amount)

    def level(self) -> Level:
        left = self._turn()
        return Level(self._limit, max(0.0, self._capacity - self._used), left if self._used else 0.0)


class KeyQuota:
    """Requests and tokens of one key: a request passes where both fit, and is then charged to both."""

    def __init__(self, config: QuotaConfig, clock: Clock = time.monotonic) -> None:
        self.config = config
        self._quotas: dict[Dimension, Quota] = {}
        if config.requests_per_minute is not None:
            self._quotas["requests"] = _make(config, config.requests_per_minute, clock)
        if config.tokens_per_minute is not None:
            self._quotas["tokens"] = _make(config, config.tokens_per_minute, clock)

    def admit(self, tokens: float = 0.0) -> Verdict:
        """Judge one request of so many tokens, and charge it where it passes (or rejects are charged)."""
        amounts: dict[Dimension, float] = {"requests": 1.0, "tokens": tokens}
        waits = {name: quota.wait_seconds(amounts[name]) for name, quota in self._quotas.items()}
        exceeded = max(waits, key=lambda name: waits[name], default=None)
        wait = waits[exceeded] if exceeded else 0.0
        admitted = wait <= 0
        if admitted or self.config.rejects_charged:
            for name, quota in self._quotas.items():
                quota.charge(amounts[name])
        return Verdict(admitted, wait, None if admitted else exceeded, self.levels())

    def charge_tokens(self, amount: float) -> None:
        """Count what an answer used beyond (or, negative, below) what `admit` charged."""
        if "tokens" in self._quotas and amount:
            self._quotas["tokens"].charge(amount)

    def drain(self, share: float) -> None:
        """Use up a share (0 to 1) of what is left."""
        for quota in self._quotas.values():
            quota.charge(quota.level().remaining * share)

    def levels(self) -> dict[Dimension, Level]:
        """Every limited dimension's level now."""
        return {name: quota.level() for name, quota in self._quotas.items()}


def _make(config: QuotaConfig, per_minute: float, clock: Clock) -> Quota:
    match config.kind:
        case "bucket":
            return TokenBucket(per_minute, config.burst_seconds, clock)
        case "sliding":
            return SlidingWindow(per_minute, config.window_seconds, clock)
        case "fixed":
            return FixedWindow(per_minute, config.window_seconds, clock)
