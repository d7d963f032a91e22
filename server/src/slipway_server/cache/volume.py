# SPDX-License-Identifier: Apache-2.0
"""The volume with a time budget: reads and writes in threads of its own, a breaker in front, faults turned into misses.

    volume = Volume(store, budget_seconds=0.5)
    value = await volume.read(digest)          # bytes or a Miss; never raises, never later than the budget
    volume.write(digest, value)                # in the background; the future ends when it is published or given up

Nothing runs in the event loop's default executor: DSPy needs those threads.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from slipway_server.cache.breaker import Breaker
from slipway_server.cache.folder import Folder
from slipway_server.cache.record import Miss
from slipway_server.cache.store import DiskStore, reason_of
from slipway_server.cache.workers import Workers
from slipway_server.errors import ConfigInvalid
from slipway_server.telemetry import metrics

T = TypeVar("T")

READERS = 16
WRITERS = 4
BACKLOG_CALLS = 4096
CROWDED = 256
BACKLOG_BYTES = 64 * 1024 * 1024
"""Of values that wait to be written; beyond it they stay in memory only."""
FLUSH_SECONDS = 5.0
PREPARE_SECONDS = 10.0
"""Start-up may take longer than a look-up."""

log = logging.getLogger(__name__)


class Volume:
    """Bounded access to a DiskStore. Thread-safe; the async methods work on any loop."""

    def __init__(self, store: DiskStore, *, budget_seconds: float) -> None:
        self.store = store
        self._budget = budget_seconds
        self._breaker = Breaker()
        self._readers = Workers("slipway-cache-read", threads=READERS, backlog=BACKLOG_CALLS)
        self._writers = Workers("slipway-cache-write", threads=WRITERS, backlog=BACKLOG_CALLS)
        self._unwritten: set[Future[None]] = set()
        self._unwritten_bytes = 0
        self._lock = threading.Lock()
        self._read_seconds = metrics.CACHE_VOLUME_SECONDS.labels("read")  # to find them takes as long as to read
        self._read_bytes = metrics.CACHE_VOLUME_BYTES.labels("read")

    async def prepare(self) -> None:
        """Make the folder. Raises ConfigInvalid where everybody may write to it; other faults are logged."""
        found = await self.call(self._prepared, budget_seconds=PREPARE_SECONDS)
        if isinstance(found, ConfigInvalid):
            raise found
        if found is None:
            log.warning("cache_volume_unusable", extra={"consequence": "answers are remembered in memory only"})

    async def read(self, digest: str) -> bytes | Miss:
        """The value, or why there is none."""
        future = self._begin(self.get, digest)
        return future if isinstance(future, Miss) else counted(await self._ended(future))

    def read_blocking(self, digest: str) -> bytes | Miss:
        """`read` for a thread that may wait."""
        future = self._begin(self.get, digest)
        if isinstance(future, Miss):
            return future
        try:
            found: bytes | Miss = future.result(self._budget)
        except futures.TimeoutError:
            return counted(self._gave_up(future))
        self._breaker.answered()
        return counted(found)

    async def call(
        self, function: Callable[..., T], *args: object, budget_seconds: float | None = None, look_up: bool = False
    ) -> T | None:
        """Run a file operation; None where it failed, took too long or the volume is left alone.

        Such an end of a `look_up` is counted as a miss.
        """
        future = self._begin(self._tried, function, *args)
        found = future if isinstance(future, Miss) else await self._ended(future, budget_seconds)
        if look_up and not isinstance(future, Miss):
            counted(found)
        return None if isinstance(found, Miss) else found

    def write(self, digest: str, value: bytes) -> Future[None]:
        """Publish `value` in the background. The future ends, with no result, when that is done or given up."""
        done: Future[None] = Future()
        with self._lock:
            fits = self._unwritten_bytes + len(value) <= BACKLOG_BYTES
            if fits:
                self._unwritten_bytes += len(value)
                self._unwritten.add(done)
        if not fits:
            metrics.CACHE_WRITES.labels("dropped").inc()
            done.set_result(None)
            return done
        try:
            self._writers.submit(self._put, digest, value, done)
        except queue.Full:
            metrics.CACHE_WRITES.labels("dropped").inc()
            self._wrote(value, done)
        return done

    async def room(self) -> None:
        """Wait, within the budget, while many writes are waiting: for bulk work, which would else be dropped."""
        deadline = time.monotonic() + self._budget
        while (left := deadline - time.monotonic()) > 0:
            with self._lock:
                waiting = list(self._unwritten) if len(self._unwritten) > CROWDED else []
            if not waiting:
                return
            await asyncio.wait([asyncio.wrap_future(random.choice(waiting))], timeout=left)

    def later(self, function: Callable[..., object], *args: object) -> bool:
        """Run a file operation in the background, whether it works or not. False where too much is waiting already."""
        if self._writers.is_current():  # what follows a write needs no other thread
            self._tried(function, *args)
            return True
        try:
            self._writers.submit(self._tried, function, *args)
        except queue.Full:
            return False
        return True

    async def flush(self) -> None:
        """Wait until what was put so far is written, for at most FLUSH_SECONDS."""
        with self._lock:
            waiting = [asyncio.wrap_future(future) for future in self._unwritten]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=FLUSH_SECONDS)
            if late:
                log.warning("cache_writes_late", extra={"entries": len(late)})

    def close(self) -> None:
        """End the threads."""
        self._readers.close()
        self._writers.close()

    # ---- in the caller

    def _begin(self, function: Callable[..., T], *args: object) -> Future[T] | Miss:
        try:
            if self._breaker.allow():
                return self._readers.submit(function, *args)
        except queue.Full:
            pass
        metrics.CACHE_MISSES.labels(Miss.REFUSED).inc()
        return Miss.REFUSED

    async def _ended(self, future: Future[T], budget_seconds: float | None = None) -> T | Miss:
        if not await _done_within(budget_seconds or self._budget, future):
            return self._gave_up(future)
        self._breaker.answered()
        return future.result()

    def _gave_up(self, future: Future[T]) -> Miss:
        future.cancel()
        self._breaker.timed_out()
        return Miss.TIMEOUT

    # ---- in a worker

    def get(self, digest: str) -> bytes | Miss:
        """The value, or why there is none; blocks, so only for a worker."""
        started = time.perf_counter()
        try:
            found = self.store.get(digest)
        except ConfigInvalid:
            return Miss.DENIED
        finally:
            self._read_seconds.observe(time.perf_counter() - started)
        if not isinstance(found, Miss):
            self._read_bytes.inc(len(found))
        return found

    def _put(self, digest: str, value: bytes, done: Future[None]) -> None:
        started = time.perf_counter()
        try:
            self.store.put(digest, value)
        except OSError as error:
            metrics.CACHE_WRITES.labels(reason_of(error)).inc()
        except ConfigInvalid:
            metrics.CACHE_WRITES.labels(Miss.DENIED).inc()
        else:
            metrics.CACHE_WRITES.labels("written").inc()
            metrics.CACHE_VOLUME_BYTES.labels("write").inc(len(value))
            metrics.CACHE_VOLUME_SECONDS.labels("write").observe(time.perf_counter() - started)
        finally:
            self._wrote(value, done)

    def _wrote(self, value: bytes, done: Future[None]) -> None:
        with self._lock:
            self._unwritten_bytes -= len(value)
            self._unwritten.discard(done)
        done.set_result(None)

    def _prepared(self) -> Folder | ConfigInvalid:
        try:
            return self.store.folder
        except ConfigInvalid as error:
            return error

    def _tried(self, function: Callable[..., T], *args: object) -> T | Miss:
        try:
            return function(*args)
        except OSError as error:
            return reason_of(error)
        except ConfigInvalid:
            return Miss.DENIED


async def _done_within(seconds: float, future: Future[T]) -> bool:
    """Whether `future` ended in time. Cancelling the wait cancels it.

    asyncio.timeout around wrap_future does the same and takes as long as reading an entry from the page cache.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    def wake(_: Future[T]) -> None:
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(end)

    future.add_done_callback(wake)
    timer = loop.call_later(seconds, end)
    try:
        await ended
    except asyncio.CancelledError:
        future.cancel()
        raise
    finally:
        timer.cancel()
    return future.done()


def counted(found: T | Miss) -> T | Miss:
    """`found`; a miss is counted by its reason."""
    if isinstance(found, Miss):
        metrics.CACHE_MISSES.labels(found).inc()
    return found
