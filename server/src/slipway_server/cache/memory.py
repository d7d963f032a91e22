# SPDX-License-Identifier: Apache-2.0
"""The memory tier: the entries used last, bounded in bytes, shared by all requests of the process.

tier.put(digest, b"{...}")
held = tier.held(digest)
tier.keep(held, "some form", (b"...",))     # what somebody made of this value; gone when the value is
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
"""What an entry takes beside its value: digest, object, dictionary slot (measured with sys.getsizeof, rounded up)."""

Form = tuple[bytes, ...]
"""What was made of a value, in parts."""

_NO_FORMS: Mapping[str, Form] = MappingProxyType({})


class Held:
    """An entry. `forms`: what was made of its value, by name."""

    __slots__ = ("digest", "forms", "since", "value")

    def __init__(self, digest: str, value: bytes, since: float) -> None:
        self.digest, self.value, self.since = digest, value, since
        self.forms = _NO_FORMS

    @property
    def size_bytes(self) -> int:
        """As it counts against the tier's limit."""
        forms = sum(ENTRY_OVERHEAD_BYTES + sum(map(len, form)) for form in self.forms.values())
        return ENTRY_OVERHEAD_BYTES + len(self.value) + forms


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
        self._entries: OrderedDict[str, Held] = OrderedDict()
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
            if self._ttl is not None and self._clock() - found.since >= self._ttl:
                self._remove(digest)
                return None
            self._entries.move_to_end(digest)
            return found

    def put(self, digest: str, value: bytes) -> None:
        """Remember `value`, and forget the least recently used ones beyond the limit."""
        if len(value) + ENTRY_OVERHEAD_BYTES > self._limit:
            return
        with self._lock:
            self._remove(digest)
            self._add(Held(digest, value, self._clock()))
        metrics.CACHE_MEMORY_BYTES.set(self._bytes)

    def keep(self, held: Held, name: str, form: Form) -> None:
        """Remember what was made of `held`, unless that has been forgotten or replaced meanwhile."""
        with self._lock:
            if self._entries.get(held.digest) is held:
                self._remove(held.digest)
                held.forms = {**held.forms, name: form}
                self._add(held)
        metrics.CACHE_MEMORY_BYTES.set(self._bytes)

    def _add(self, held: Held) -> None:
        self._entries[held.digest] = held
        self._bytes += held.size_bytes
        while self._bytes > self._limit:
            self._remove(next(iter(self._entries)))

    def _remove(self, digest: str) -> None:
        found = self._entries.pop(digest, None)
        if found is not None:
            self._bytes -= found.size_bytes
