# SPDX-License-Identifier: Apache-2.0
"""What every room may know of the request that it works for: deadline, class, cache use and the account of its cost.

The runtime opens a request; rooms below read it with `current` and add to its account::

    with request.opened(RequestContext(deadline=time.monotonic() + 30)) as context:
        …                                   # anywhere below, in any task or thread that inherits the context:
        request.current().account.attempts += 1

Outside a request (CLI, optimizers) `current` returns an anonymous one without deadline, whose account nobody reads.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import cast

_SECONDS = cast("Callable[[], dict[str, float]]", partial(defaultdict, float))
_COUNTS = cast("Callable[[], dict[str, int]]", partial(defaultdict, int))


class TrafficClass(StrEnum):
    """Whose turn it is when the provider's quota is short."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    EVALUATION = "evaluation"


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that the program was given. `score`: the retriever's, higher is better.

    `text` is as the program saw it, for recording; empty where it is not known, and no part of a receipt.
    """

    passage_id: str
    title: str
    score: float
    text: str = field(default="", compare=False, repr=False)


@dataclass(slots=True)
class Account:
    """What one request cost so far; the runtime turns it into the receipt."""

    lm_calls: int = 0
    """LM calls that reached the governor (cache hits do not)."""
    attempts: int = 0
    """HTTP attempts made for them."""
    waits_seconds: dict[str, float] = field(default_factory=_SECONDS)
    """By kind: queue, pacing, retry, slot, cache_lease."""
    cache_tiers: dict[str, int] = field(default_factory=_COUNTS)
    """Answers by tier: miss, memory, disk, joined, memo, bypass."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    citations: list[Citation] = field(default_factory=list)
    collection_version: str = ""
    variant: str = ""
    """The variant that was chosen; known also where no answer came, as are its artifact's name and digest."""
    artifact: str = ""
    artifact_digest: str = ""
    spent_seconds: dict[str, float] = field(default_factory=_SECONDS)
    """In flight, by kind: lm (attempts), retrieval. Not a part of the receipt, but of the access log."""


DEADLINE_SLACK_SECONDS = 0.2
"""gRPC rounds a deadline up on its way here, by 0.1 s at most: the caller's passes, and cancels, so much earlier."""


def is_over(remaining_seconds: float | None) -> bool:
    """Whether the deadline that is so far away has passed for the caller."""
    return remaining_seconds is not None and remaining_seconds <= DEADLINE_SLACK_SECONDS


def new_request_id() -> str:
    """32 hexadecimal digits that nobody else has."""
    return secrets.token_hex(16)


@dataclass(slots=True, eq=False)
class RequestContext:
    """One request, of which nothing changes but its account. `deadline`: in time.monotonic() seconds; None is none."""

    request_id: str = field(default_factory=new_request_id)
    deadline: float | None = None
    traffic_class: TrafficClass = TrafficClass.INTERACTIVE
    use_cache: bool = True
    pin: str = ""
    """What the request's metadata says about who must serve it."""
    account: Account = field(default_factory=Account)

    def remaining_seconds(self) -> float | None:
        """Time until the deadline, not below 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_default_class = TrafficClass.INTERACTIVE
_current: ContextVar[RequestContext | None] = ContextVar("slipway_request", default=None)


def current() -> RequestContext:
    """The request that this code works for, or a fresh anonymous one."""
    return _current.get() or RequestContext(traffic_class=_default_class)


def current_or_none() -> RequestContext | None:
    """The request that this code works for, or None outside one."""
    return _current.get()


class opened:  # noqa: N801 (used like a function; a generator would cost thrice as much, at every request)
    """Make `context` the current one for this block and for what it starts."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    def __enter__(self) -> RequestContext:
        self._token: Token[RequestContext | None] = _current.set(self._context)
        return self._context

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _current.reset(self._token)


@contextmanager
def default_class(traffic_class: TrafficClass) -> Iterator[None]:
    """The class of work outside any request, in every thread of this process; optimizers start threads of their own."""
    global _default_class
    before, _default_class = _default_class, traffic_class
    try:
        yield
    finally:
        _default_class = before
