# SPDX-License-Identifier: Apache-2.0
"""The memory tier: the entries used last, bounded in bytes, shared by all requests of the process.

tier.put(digest, b"{...}")
held = tier.held(digest)
held.keep("some form", (b"...",))     # what somebody made of this value; gone when the value is
held.forms["some form"]
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType

from slipway_server.telemetry import metrics

ENTRY_OVERHEAD_BYTES = 320
"""What an entry takes beside its value: digest, tuple, dictionary slot (measured with sys.getsizeof, rounded up)."""

Form = tuple[bytes, ...]
"""What was made of a value, in parts."""

_Entry = tuple[bytes, float]
"""Value and time. A plain tuple is left out of collections of garbage; objects of our own, by the hundred thousand,
would be looked at by each."""

_NO_FORMS: Mapping[str, Form] = MappingProxyType({})


class Held:
    """An entry as it was found. `forms`: what was made of its value, by name."""

    __slots__ = ("_tier", "digest", "entry", "forms")

    def __init__(self, tier: MemoryTier, digest: str, entry: _Entry, forms: Mapping[str, Form] = _NO_FORMS) -> None:
        self._tier, self.digest, self.entry, self.forms = tier, digest, entry, forms

    @property
    def value(self) -> bytes:
        """The bytes that were put."""
        return self.entry[0]

    def keep(self, name: str, form: Form) -> None:
        """Remember what was made of it for as long as it is in memory."""
        self._tier.keep(self, name, form)


class MemoryTier:
    """Least recently used bytes by digest. Thread-safe; no call waits.

    Args:
        limit_bytes: Values and overhead together; 0 keeps nothing.
        ttl_seconds: Age at which an entry is no longer given out.
        clock: Any steadily growing seconds.
    """

    def __init__(
        self, limit_bytes: int, ttl_seconds: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit_bytes
        self._ttl = ttl_seconds
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._forms: dict[str, Mapping[str, Form]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Bytes held, overhead included."""
        return self._bytes

    def get(self, digest: str) -> bytes | None:
        """The value, which becomes the most recently used one."""
        held = self.held(digest)
        return None if held is None else held.value

    def held(self, digest: str) -> Held | None:
        """The same with its forms."""
        with self._lock:
            found = self._entries.get(digest)
            if found is None:
                return None
            if self._ttl is not None and self._clock() - found[1] >= self._ttl:
                self._remove(digest)
                return None
            self._entries.move_to_end(digest)
            return Held(self, digest, found, self._forms.get(digest, _NO_FORMS))

    def put(self, digest: str, value: bytes) -> None:
        """Remember `value`, and forget the least recently used ones beyond the limit."""
        if len(value) + ENTRY_OVERHEAD_BYTES > self._limit:
            return
        with self._lock:
            self._remove(digest)
            self._add(digest, (value, self._clock()), _NO_FORMS)
        metrics.CACHE_MEMORY_BYTES.set(self._bytes)

    def keep(self, held: Held, name: str, form: Form) -> None:
        """As Held.keep: remember what was made of `held`, unless that has been forgotten or replaced meanwhile."""
        with self._lock:
            if self._entries.get(held.digest) is held.entry:
                forms = {**self._forms.get(held.digest, _NO_FORMS), name: form}
                self._remove(held.digest)
                self._add(held.digest, held.entry, forms)
        metrics.CACHE_MEMORY_BYTES.set(self._bytes)

    def _add(self, digest: str, entry: _Entry, forms: Mapping[str, Form]) -> None:
        self._entries[digest] = entry
        if forms:
            self._forms[digest] = forms
        self._bytes += _size_bytes(entry, forms)
        while self._bytes > self._limit:
            self._remove(next(iter(self._entries)))

    def _remove(self, digest: str) -> None:
        found = self._entries.pop(digest, None)
        if found is not None:
            self._bytes -= _size_bytes(found, self._forms.pop(digest, _NO_FORMS))


def _size_bytes(entry: _Entry, forms: Mapping[str, Form]) -> int:
    parts = [entry[0], *(part for form in forms.values() for part in form)]
    return sum(map(len, parts)) + ENTRY_OVERHEAD_BYTES * (1 + len(forms))
