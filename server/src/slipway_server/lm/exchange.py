# SPDX-License-Identifier: Apache-2.0
"""What the governor learns of one attempt from below the provider's adapter: the reply's headers, successes included.

    with exchange.opened() as seen:              # around one attempt, in its task
        await engine.complete(request)
    seen.headers

DSPy and its engines show rate-limit headers of errors only; the transport writes those of every reply here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Exchange:
    """One attempt's reply, as far as it came."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    replied: bool = False
    """The reply has begun."""


_current: ContextVar[Exchange | None] = ContextVar("slipway_lm_exchange", default=None)


@contextmanager
def opened() -> Iterator[Exchange]:
    """An exchange for the attempt in this block."""
    seen = Exchange()
    token = _current.set(seen)
    try:
        yield seen
    finally:
        _current.reset(token)


def replied(headers: list[tuple[str, str]]) -> None:
    """The transport's report; ignored outside an attempt."""
    seen = _current.get()
    if seen is not None:
        seen.headers, seen.replied = headers, True


def has_replied() -> bool:
    """Whether the provider's reply to this attempt has begun; False outside one."""
    seen = _current.get()
    return seen is not None and seen.replied
