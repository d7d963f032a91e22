# SPDX-License-Identifier: Apache-2.0
"""What the gate asks of a pacer.

if pacer.ready_at(cls, need) <= now():
    pacer.book(cls, need)                   # at once: booking later lets whole backlogs through
    …                                       # the attempt, then one of these where the provider answered
    pacer.succeeded(cls, need, sent_at, levels, used)
    pacer.throttled(cls, need, sent_at, levels, retry_after)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from slipway_server.request import TrafficClass

DIMENSIONS = ("requests", "tokens", "input_tokens", "output_tokens")
"""What providers limit, per minute."""


class Need(NamedTuple):
    """What one attempt takes of each dimension (in the order of DIMENSIONS); also what it took, afterwards."""

    requests: float = 1.0
    tokens: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0

    def plus(self, other: Need, sign: int = 1) -> Need:
        """The sum; the difference with sign=-1."""
        return Need(
            self.requests + sign * other.requests,
            self.tokens + sign * other.tokens,
            self.input_tokens + sign * other.input_tokens,
            self.output_tokens + sign * other.output_tokens,
        )


NOTHING = Need(0.0)


class Level(NamedTuple):
    """One dimension of the provider's quota as its headers gave it with a reply."""

    remaining: float
    limit_per_minute: float | None = None
    reset_seconds: float | None = None
    """Time until the bucket is full again."""


Levels = Mapping[str, Level]
"""By dimension; empty where the provider sends no headers."""


class Pacer(Protocol):
    """Decides when the next attempt may leave. Synchronous, and used from one thread."""

    @property
    def lanes(self) -> bool:
        """Each class has a pace of its own; else the classes share one and the higher class goes first."""
        ...

    @property
    def kind(self) -> str:
        """Name for metrics: off, fixed, priced or share."""
        ...

    def ready_at(self, cls: TrafficClass, need: Need) -> float:
        """The clock's time from which `need` may be sent; now or earlier means at once."""
        ...

    def book(self, cls: TrafficClass, need: Need) -> None:
        """An attempt leaves now."""
        ...

    def succeeded(self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, used: Need | None) -> None:
        """An attempt that left at `sent_at` was answered; `used` is what it really took, where known."""
        ...

    def throttled(
        self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, retry_after: float | None
    ) -> None:
        """An attempt that left at `sent_at` was answered with 429."""
        ...

    def drain_seconds(self, cls: TrafficClass, total: Need) -> float:
        """How long a backlog of `total` would take at the present pace."""
        ...

    def backlog(self, cls: TrafficClass, waiting: int) -> None:
        """So many attempts of the class wait."""
        ...

    def set_pods(self, pods: int) -> None:
        """So many processes share the key now."""
        ...

    def facts(self) -> PacerFacts:
        """For metrics."""
        ...


class PacerFacts(NamedTuple):
    """What on-call wants to see of a pacer. None means unknown or unlimited."""

    requests_per_second: Mapping[TrafficClass, float]
    remaining_ratio: Mapping[str, float]
    """By dimension: the provider's bucket, 1 is full."""
    staleness_seconds: float | None
    """Age of the newest header."""


class Unpaced:
    """No limit known: only concurrency and the provider's own 429s bound the calls."""

    lanes = False
    kind = "off"

    def __init__(self) -> None:
        self._never = float("-inf")

    def ready_at(self, cls: TrafficClass, need: Need) -> float:
        """At once."""
        return self._never

    def book(self, cls: TrafficClass, need: Need) -> None:
        """Nothing to book."""

    def succeeded(self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, used: Need | None) -> None:
        """Nothing to learn."""

    def throttled(
        self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, retry_after: float | None
    ) -> None:
        """Each call waits for itself."""

    def drain_seconds(self, cls: TrafficClass, total: Need) -> float:
        """No time."""
        return 0.0

    def backlog(self, cls: TrafficClass, waiting: int) -> None:
        """Without effect."""

    def set_pods(self, pods: int) -> None:
        """Without effect."""

    def facts(self) -> PacerFacts:
        """Nothing is known."""
        return PacerFacts({}, {}, None)
