# SPDX-License-Identifier: Apache-2.0
"""`auto`: begins with the configured limit, then chooses by what the provider's replies show.

Headers with remaining quota: priced. None, and the key is shared: share. None, and it is not: fixed. No limit
configured and no headers: only concurrency bounds the calls.
"""

from __future__ import annotations

from collections.abc import Callable

from slipway_server.lm.pacing.types import Levels, Need, Pacer, PacerFacts
from slipway_server.request import TrafficClass

SILENT_REPLIES = 3
"""So many replies without headers prove that the provider sends none."""


class AutoPacer:
    """Delegates to one pacer after another.

    Args:
        cautious: Until the first reply; it lets no burst into a bucket that other pods may have emptied.
        priced: Makes the pacer for providers with headers.
        silent: Makes the pacer for providers without; given the number of pods.
    """

    def __init__(self, cautious: Pacer, priced: Callable[[int], Pacer], silent: Callable[[int], Pacer]) -> None:
        self._current = cautious
        self._priced = priced
        self._silent = silent
        self._pods = 1
        self._silent_replies = 0
        self._waiting: dict[TrafficClass, int] = {}

    @property
    def lanes(self) -> bool:
        """As the present pacer."""
        return self._current.lanes

    @property
    def kind(self) -> str:
        """As the present pacer."""
        return self._current.kind

    def ready_at(self, cls: TrafficClass, need: Need) -> float:
        """As the present pacer."""
        return self._current.ready_at(cls, need)

    def book(self, cls: TrafficClass, need: Need) -> None:
        """As the present pacer."""
        self._current.book(cls, need)

    def succeeded(self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, used: Need | None) -> None:
        """Choose by the headers, then as the present pacer."""
        self._choose(levels, silent=not levels)
        self._current.succeeded(cls, need, sent_at, levels, used)

    def throttled(
        self, cls: TrafficClass, need: Need, sent_at: float, levels: Levels, retry_after: float | None
    ) -> None:
        """Choose where the 429 has headers (many gateways reject without), then as the present pacer."""
        self._choose(levels, silent=False)
        self._current.throttled(cls, need, sent_at, levels, retry_after)

    def drain_seconds(self, cls: TrafficClass, total: Need) -> float:
        """As the present pacer."""
        return self._current.drain_seconds(cls, total)

    def backlog(self, cls: TrafficClass, waiting: int) -> None:
        """As the present pacer; the next one is told too."""
        self._waiting[cls] = waiting
        self._current.backlog(cls, waiting)

    def set_pods(self, pods: int) -> None:
        """As the present pacer; the next one is told too. A limit that was one process's is divided from then on."""
        self._pods = pods
        if self._silent_replies == SILENT_REPLIES and self._current.kind == "fixed" and pods > 1:
            self._become(self._silent(pods))
        else:
            self._current.set_pods(pods)

    def facts(self) -> PacerFacts:
        """As the present pacer."""
        return self._current.facts()

    def _choose(self, levels: Levels, silent: bool) -> None:
        if self._current.kind == "priced":
            return
        if any(level.limit_per_minute for level in levels.values()):
            self._become(self._priced(self._pods))
        elif silent and self._silent_replies < SILENT_REPLIES:
            self._silent_replies += 1
            if self._silent_replies == SILENT_REPLIES:
                self._become(self._silent(self._pods))

    def _become(self, pacer: Pacer) -> None:
        pacer.set_pods(self._pods)
        for cls, waiting in self._waiting.items():
            pacer.backlog(cls, waiting)
        self._current = pacer
