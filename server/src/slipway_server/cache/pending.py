# SPDX-License-Identifier: Apache-2.0
"""Entries that are not published yet, because whoever made them still has to look at the answer.

    with deferred() as pending:
        outputs = await lm.acall(…)      # DSPy puts the answer into the cache: it is kept aside
        fields = parse(outputs)          # raises: the answer is dropped
        pending.commit()                 # the answer is published

Puts made in the block, also in threads and tasks started there, are kept aside; gets made there see them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """A value on its way. `settled` ends, with no result, when the value is published or dropped."""

    digest: str
    value: bytes
    publish: Callable[[Entry], None]
    settled: Future[None] = field(default_factory=Future)

    def drop(self) -> None:
        """Nobody else will see it."""
        self.settled.set_result(None)


class Pending:
    """What a block has put; thread-safe. Blocks nest: the inner one sees the outer one's entries."""

    def __init__(self, outer: Pending | None) -> None:
        self._outer = outer
        self._entries: dict[str, Entry] = {}
        self._open = True
        self._lock = threading.Lock()

    def find(self, digest: str) -> bytes | None:
        """A value put in this block or in one around it."""
        entry = self._entries.get(digest)
        if entry is not None:
            return entry.value
        return self._outer.find(digest) if self._outer else None

    def add(self, entry: Entry) -> None:
        """Keep an entry aside; one that comes after the block's end (from a cancelled call's thread) is dropped."""
        with self._lock:
            replaced = self._entries.pop(entry.digest, None)
            if self._open:
                self._entries[entry.digest] = entry
        if replaced:
            replaced.drop()
        if not self._open:
            entry.drop()

    def commit(self) -> None:
        """Publish what was put so far."""
        for entry in self._taken():
            entry.publish(entry)

    def close(self) -> None:
        """Drop what was not committed."""
        self._open = False
        for entry in self._taken():
            entry.drop()

    def _taken(self) -> list[Entry]:
        with self._lock:
            taken = list(self._entries.values())
            self._entries.clear()
        return taken


_pending: ContextVar[Pending | None] = ContextVar("slipway_cache_pending", default=None)


def current_pending() -> Pending | None:
    """The innermost block that this code runs in."""
    return _pending.get()


@contextmanager
def deferred() -> Iterator[Pending]:
    """Keep the cache entries made in this block aside until `commit`; leaving without it drops them."""
    pending = Pending(_pending.get())
    token = _pending.set(pending)
    try:
        yield pending
    finally:
        _pending.reset(token)
        pending.close()
