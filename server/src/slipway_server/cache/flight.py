# SPDX-License-Identifier: Apache-2.0
"""Single flight: of identical calls under way, one goes upstream.

    lm = SlipwayLM(model, …, flight=shared.flight)

It sits around `LM.acall` and `LM.__call__`, above DSPy's own look-up, so that rollout ids and n keep requests apart and
no worker thread waits. The first call of a process leads: it asks the volume, and then the other processes through a
lease file; the calls after it wait on the loop. Each call then runs DSPy's own path with the answer already known, so
that history, usage and callbacks are those of a cache hit.

A leader that fails leaves its followers to go on by themselves; one that is cancelled is replaced by one of them.
Calls of different traffic classes do not wait for each other: batch work may queue for minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import Token
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any

from slipway_server import request
from slipway_server.cache.fleet import Fleet
from slipway_server.cache.shared import Asked, Resolution, resolution
from slipway_server.request import TrafficClass
from slipway_server.telemetry import metrics

if TYPE_CHECKING:
    from slipway_server.cache.shared import SharedCache


class Ending(Enum):
    """How a flight ended that brought no answer."""

    FAILED = "failed"
    ABANDONED = "abandoned"
    LATE = "late"
    """It has not ended, but this follower's time has."""


Outcome = bytes | Ending


class Ticket:
    """Around one call: DSPy's look-up finds what is known, and `landed` hears how it ended."""

    def __init__(
        self, known: Resolution, landed: Callable[[Resolution, type[BaseException] | None], None] | None = None
    ) -> None:
        self._known = known
        self._landed = landed
        self._token: Token[Resolution | None] | None = None

    def __enter__(self) -> Resolution:
        self._token = resolution.set(self._known)
        return self._known

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._token is not None:
            resolution.reset(self._token)
        if self._landed is not None:
            self._landed(self._known, kind)


class Flight:
    """The single flight of a process; one instance for all its LMs. May be used from several loops."""

    def __init__(self, shared: SharedCache) -> None:
        self._shared = shared
        self._under_way: dict[str, Future[Outcome]] = {}
        volume = shared.volume
        self._fleet = (
            Fleet(volume, shared.read, shared.kept, lease_seconds=shared.config.lease_seconds) if volume else None
        )

    async def __call__(
        self, lm: Any, proceed: Callable[[], Awaitable[Any]], *, prompt: Any, messages: Any, kwargs: dict[str, Any]
    ) -> Any:
        """The outputs of `proceed()`, which is DSPy's own `acall`, joined with identical calls."""
        asked = await self._asked(lm, prompt, messages, kwargs)
        digest = self._digest(asked)
        if digest is None:
            return await proceed()
        with await self.board(digest) as known:
            known.asked = asked
            return await proceed()

    def blocking(
        self, lm: Any, proceed: Callable[[], Any], *, prompt: Any, messages: Any, kwargs: dict[str, Any]
    ) -> Any:
        """The same for `LM.__call__`, in a thread that may wait. Joins asynchronous calls too."""
        digest = self._digest(self._asked_here(lm, prompt, messages, kwargs))
        if digest is None or asyncio._get_running_loop() is not None:
            return proceed()
        value = self._shared.find(digest)
        known = Ticket(Resolution(digest, value, "memory")) if value is not None else None
        with known or asyncio.run(self.board(digest)):  # boarding only waits, so any loop will do
            return proceed()

    async def board(self, digest: str) -> Ticket:
        """Wait until it is known whether this call goes upstream. Enter the ticket around the call."""
        name = _name(digest)
        while True:
            value = self._shared.find(digest)
            if value is not None:
                return Ticket(Resolution(digest, value, "memory"))
            mine: Future[Outcome] = Future()
            mine.set_running_or_notify_cancel()  # a follower's cancellation must not reach it
            other = self._under_way.setdefault(name, mine)
            if other is mine:
                return await self._lead(name, digest, mine)
            outcome = await self._follow(other)
            if isinstance(outcome, bytes):
                return Ticket(Resolution(digest, outcome, "joined"))
            if outcome is not Ending.ABANDONED:
                return Ticket(Resolution(digest, None, "miss"))

    async def aclose(self) -> None:
        """Give the leases back."""
        if self._fleet:
            await self._fleet.aclose()

    async def _lead(self, name: str, digest: str, mine: Future[Outcome]) -> Ticket:
        lease = None
        try:
            value, tier = None, "disk"
            if self._fleet:
                elected = await self._fleet.elect(name, digest)
                value, lease = elected.value, elected.lease
                if elected.waited:
                    tier = "joined"
                    metrics.CACHE_JOINS.labels("fleet", "alone" if value is None else "answered").inc()
        except BaseException:
            self._end(name, mine, Ending.ABANDONED)
            raise

        def landed(known: Resolution, kind: type[BaseException] | None) -> None:
            if known.stored is not None:
                mine.set_result(known.stored.value)
                known.stored.settled.add_done_callback(lambda _: self._settled(name, mine, lease))
                return
            cancelled = kind is not None and not issubclass(kind, Exception)
            self._end(name, mine, known.value or (Ending.ABANDONED if cancelled else Ending.FAILED))
            self._settled(name, mine, lease)

        return Ticket(Resolution(digest, value, "miss" if value is None else tier), landed)

    async def _follow(self, other: Future[Outcome]) -> Outcome:
        started = time.monotonic()
        try:
            remaining = request.current().remaining_seconds()
            outcome = await asyncio.wait_for(asyncio.wrap_future(other), remaining)
        except TimeoutError:
            outcome = Ending.LATE
        finally:
            request.current().account.waits_seconds["cache_lease"] += time.monotonic() - started
        metrics.CACHE_JOINS.labels("process", "answered" if isinstance(outcome, bytes) else outcome.value).inc()
        return outcome

    def _end(self, name: str, mine: Future[Outcome], outcome: Outcome) -> None:
        self._under_way.pop(name, None)
        mine.set_result(outcome)

    def _settled(self, name: str, mine: Future[Outcome], lease: Any) -> None:
        if self._under_way.get(name) is mine:
            self._under_way.pop(name, None)
        if self._fleet:
            self._fleet.release(lease)

    async def _asked(self, lm: Any, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> Asked | None:
        if prompt is None or isinstance(prompt, str):
            return self._asked_here(lm, prompt, messages, kwargs)
        return await asyncio.to_thread(self._asked_here, lm, prompt, messages, kwargs)  # a typed request may read files

    def _asked_here(self, lm: Any, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> Asked | None:
        """What DSPy will ask its cache for, or None where the call does not use it."""
        if not self._shared.usable():
            return None
        from dspy.clients.execution import IGNORED_CACHE_KEYS, prepare

        try:
            call = prepare(lm, prompt, messages, kwargs, asynchronous=True)
            return (call.key(lm, True), IGNORED_CACHE_KEYS) if call.cache else None
        except Exception:  # not callable: DSPy's own path says what is wrong
            return None

    def _digest(self, asked: Asked | None) -> str | None:
        try:
            return None if asked is None else self._shared.keys.of_request(*asked)
        except Exception:  # not keyable: the same
            return None


def _name(digest: str) -> str:
    traffic_class = request.current().traffic_class
    return digest if traffic_class is TrafficClass.INTERACTIVE else f"{digest}.{traffic_class.value}"
