# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker for a provider that is down: 5xx, timeouts and connection faults, never 429.

    wait = breaker.wait_seconds()          # 0: go; else refuse, and say when to come back
    breaker.succeeded() / breaker.failed() / breaker.abandoned()

Pausing on 429 would leave most of a small bucket unused; pausing on an outage saves callers their deadlines.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """`failures` in a row open it for `open_seconds`, then twice as long with every failed probe up to the cap."""

    failures: int = 10
    open_seconds: float = 5.0
    open_cap_seconds: float = 60.0


class Breaker:
    """Closed, open, or half-open: after a pause one probe at a time is let through."""

    def __init__(self, config: BreakerConfig, *, now: Callable[[], float], rng: random.Random) -> None:
        self._config = config
        self._now = now
        self._rng = rng
        self._failures = 0
        self._opened = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether it refuses attempts or lets only probes through."""
        return self._open_until is not None

    def wait_seconds(self) -> float:
        """0 where an attempt may be made now (it must report how it ended), else the time until a probe may."""
        if self._open_until is None:
            return 0.0
        left = self._open_until - self._now()
        if left > 0:
            return left
        if self._probing:
            return self._config.open_seconds
        self._probing = True
        return 0.0

    def succeeded(self) -> None:
        """The provider answered, be it with 429 or 400: it is there."""
        self._failures = self._opened = 0
        self._open_until, self._probing = None, False

    def failed(self) -> None:
        """5xx, timeout or no connection."""
        self._failures += 1
        if self._probing or (self._open_until is None and self._failures >= self._config.failures):
            pause = min(self._config.open_cap_seconds, self._config.open_seconds * 2.0**self._opened)
            self._open_until = self._now() + pause * self._rng.uniform(0.8, 1.2)
            self._opened = min(self._opened + 1, 10)
            self._probing = False

    def abandoned(self) -> None:
        """The attempt was cancelled: nothing was learnt, another may probe."""
        self._probing = False
