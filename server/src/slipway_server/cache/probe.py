# SPDX-License-Identifier: Apache-2.0
"""Asks what is in the cache without asking anybody else.

probe = Probe(shared)
with dspy.context(lm=lm.with_flight(probe)):
    await program.acall(question="…")        # answers from the cache, or raises NotCached at the first miss
probe.seen[request_id]                       # Seen(warm=1, cold=["3f2a…"])
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from slipway_server import request
from slipway_server.cache.flight import Flight, Ticket
from slipway_server.cache.shared import Resolution, SharedCache


class NotCached(Exception):
    """The cache does not have the answer of an LM call."""


@dataclass
class Seen:
    """Of one request: how many LM calls the cache answered, and the digests of those that it did not."""

    warm: int = 0
    cold: list[str] = field(default_factory=list)


class Probe(Flight):
    """A flight (lm.model.Flight) that never goes upstream, and writes nothing."""

    def __init__(self, shared: SharedCache) -> None:
        super().__init__(shared)
        self.seen: defaultdict[str, Seen] = defaultdict(Seen)

    async def __call__(
        self, lm: Any, proceed: Callable[[], Awaitable[Any]], *, prompt: Any, messages: Any, kwargs: dict[str, Any]
    ) -> Any:
        """The outputs of `proceed`, from the cache. Raises NotCached."""
        digest = self._digest(await self._asked(lm, prompt, messages, kwargs))
        value = None if digest is None else self._shared.find(digest) or await self._shared.read(digest)
        with self._boarded(digest, value):
            return await proceed()

    def blocking(
        self, lm: Any, proceed: Callable[[], Any], *, prompt: Any, messages: Any, kwargs: dict[str, Any]
    ) -> Any:
        """The same for a synchronous call, in a thread that may wait."""
        digest = self._digest(self._asked_here(lm, prompt, messages, kwargs))
        value = None if digest is None else self._shared.find_blocking(digest)[0]
        with self._boarded(digest, value):
            return proceed()

    def _boarded(self, digest: str | None, value: bytes | None) -> Ticket:
        seen = self.seen[request.current().request_id]
        if digest is None or value is None:
            seen.cold.append(digest or "")
            raise NotCached
        seen.warm += 1
        return Ticket(Resolution(digest, value, "disk"))
