# SPDX-License-Identifier: Apache-2.0
"""Leaves a hanging volume alone: after some timeouts in a row nothing is asked of it, but for one probe at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from slipway_server.telemetry import metrics

TIMEOUTS = 3
COOLDOWN_SECONDS = 5.0


class Breaker:
    """Opens after TIMEOUTS timeouts in a row; while open, allows one call per COOLDOWN_SECONDS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._timeouts = 0
        self._closed_until = 0.0
        self._lock = threading.Lock()

    @property
    def open(self) -> bool:
        """Calls are being refused."""
        return self._timeouts >= TIMEOUTS

    def allow(self) -> bool:
        """Whether a call may be made now."""
        if not self.open:
            return True
        with self._lock:
            now = self._clock()
            if now < self._closed_until:
                return False
            self._closed_until = now + COOLDOWN_SECONDS
            return True

    def answered(self) -> None:
        """The volume answered, if only with an error."""
        if self._timeouts:
            with self._lock:
                self._timeouts = 0
            metrics.CACHE_VOLUME_OPEN.set(0)

    def timed_out(self) -> None:
        """The volume did not answer in time."""
        with self._lock:
            self._timeouts += 1
            if self._timeouts == TIMEOUTS:
                self._closed_until = self._clock() + COOLDOWN_SECONDS
                metrics.CACHE_VOLUME_OPEN.set(1)
