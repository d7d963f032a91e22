# SPDX-License-Identifier: Apache-2.0
"""The memory tier: the entries used last, bounded in bytes, shared by all requests of the process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from slipway_server.telemetry import metrics

ENTRY_OVERHEAD_BYTES = 320
"""What an entry takes beside its value: digest, tuple, dictionary slot (measured with sys.getsizeof, rounded up)."""


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
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Bytes held, overhead included."""
        return self._bytes

    def get(self, digest: str) -> bytes | None:
        """The value, which becomes the most recently used one."""
        with self._lock:
            found = self._entries.get(digest)
            if found is None:
                return None
            if self._ttl is not None and self._clock() - found[1] >= self._ttl:
                self._remove(digest)
                return None
            self._entries.move_to_end(digest)
            return found[0]

    def put(self, digest: str, value: bytes) -> None:
        """Remember `value`, and forget the least recently used ones beyond the limit."""
        if len(value) + ENTRY_OVERHEAD_BYTES > self._limit:
            return
        with self._lock:
            self._remove(digest)
            self._entries[digest] = (value, self._clock())
            self._bytes += len(value) + ENTRY_OVERHEAD_BYTES
            while self._bytes > self._limit:
                self._remove(next(iter(self._entries)))
        metrics.CACHE_MEMORY_BYTES.set(self._bytes)

    def _remove(self, digest: str) -> None:
        found = self._entries.pop(digest, None)
        if found is not None:
            self._bytes -= len(found[0]) + ENTRY_OVERHEAD_BYTES
