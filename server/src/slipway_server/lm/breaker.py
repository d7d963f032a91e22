# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker for a provider that is down: 5xx, timeouts and connection faults, never 429.

    wait = breaker.wait_seconds(call)      # 0: go; else refuse, and say when to come back
    breaker.succeeded() / breaker.failed(call) / breaker.unanswered(call, sent_at, usual) / breaker.abandoned(call)

Pausing on 429 would leave most of a small bucket unused; pausing on an outage saves callers their deadlines.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """`failures` in a row open it for `open_seconds`, then twice as long with every failed probe up to the cap."""

    failures: int = 10
    open_seconds: float = 5.0
    open_cap_seconds: float = 60.0
    silent_seconds: float = 10.0
    silent_times: float = 5.0
    """Silence for both so many seconds and so many times as long as answers usually take is a failure."""


class Breaker:
    """Closed, open, or half-open: after a pause one probe at a time is let through.

    Who attempts is named by any object: only the probe's own end says whether the provider is there again, and attempts
    that began before it opened may end at any time.
    """

    def __init__(self, config: BreakerConfig, *, now: Callable[[], float], rng: random.Random) -> None:
        self._config = config
        self._now = now
        self._rng = rng
        self._failures = 0
        self._opened = 0
        self._open_until: float | None = None
        self._probe: object | None = None
        self._answered_at = -math.inf

    def __repr__(self) -> str:
        if self._open_until is None:
            return f"Breaker(closed, failures={self._failures})"
        left = max(0.0, self._open_until - self._now())
        return f"Breaker(open for {left:.1f} s, probing={self._probe is not None})"

    @property
    def is_open(self) -> bool:
        """Whether it refuses attempts or lets only probes through."""
        return self._open_until is not None

    def wait_seconds(self, who: object) -> float:
        """0 where `who` may attempt now (and must report how it ended), else the time until a probe may."""
        if self._open_until is None or self._probe is who:
            return 0.0
        left = self._open_until - self._now()
        if left > 0:
            return left
        if self._probe is not None:
            return self._config.open_seconds
        self._probe = who
        return 0.0

    def succeeded(self) -> None:
        """The provider answered, be it with 429 or 400: it is there."""
        self._failures = self._opened = 0
        self._open_until = self._probe = None
        self._answered_at = self._now()

    def failed(self, who: object) -> None:
        """5xx, timeout or no connection."""
        self._failures += 1
        if self._probe is who or (self._open_until is None and self._failures >= self._config.failures):
            pause = min(self._config.open_cap_seconds, self._config.open_seconds * 2.0**self._opened)
            self._open_until = self._now() + pause * self._rng.uniform(0.8, 1.2)
            self._opened = min(self._opened + 1, 10)
            self._probe = None

    def unanswered(self, who: object, sent_at: float, usual_seconds: float) -> None:
        """Its deadline passed before a reply began. `usual_seconds`: how long answers take; 0: there was none yet.

        Callers are often less patient than an attempt may be: without this a provider that hangs would never be found
        out. One that is slow, or has answered others meanwhile, does not hang.
        """
        silence = max(self._config.silent_seconds, self._config.silent_times * usual_seconds)
        if usual_seconds > 0 and self._now() - sent_at >= silence and self._answered_at <= sent_at:
            self.failed(who)
        else:
            self.abandoned(who)

    def abandoned(self, who: object) -> None:
        """It was cancelled, and nothing was learnt: if it was the probe, another may be."""
        if self._probe is who:
            self._probe = None
