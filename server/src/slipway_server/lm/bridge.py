# SPDX-License-Identifier: Apache-2.0
"""The one event loop per process that owns the governor, and the way to it from every other thread.

    owner = OwnerLoop.of_running_loop()            # a server: its own loop
    with OwnerLoop.in_thread() as owner:           # CLI, optimizers: a background thread's loop
        answer = owner.run(governor.complete(request), timeout=30)

Limits and connections belong to one loop. Because synchronous programs, optimizers and the server all cross over to the
same loop, they share one governor.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, TypeVar

from slipway_server.errors import ProgramInvalid

T = TypeVar("T")
END = object()
"""What `Steps.next` gives behind the last item."""


class Crossings:
    """The calls of one synchronous program that are on the other side, so that they can be cancelled together.

    with crossings.opened():             # in the program's thread, or in the context that it inherits
        program(…)
    crossings.cancel()                   # from anywhere: ends the calls under way, and later ones as they come
    """

    def __init__(self) -> None:
        self._futures: set[Future[Any]] = set()
        self._cancelled = False
        self._lock = threading.Lock()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Collect the calls made in this block and by what inherits its context."""
        token = _crossings.set(self)
        try:
            yield
        finally:
            _crossings.reset(token)

    def add(self, future: Future[Any]) -> None:
        """Remember a call until it is done."""
        with self._lock:
            self._futures.add(future)
            late = self._cancelled
        future.add_done_callback(self._futures.discard)
        if late:
            future.cancel()

    def cancel(self) -> None:
        """Cancel what is under way and what will come."""
        with self._lock:
            self._cancelled = True
            futures = list(self._futures)
        for future in futures:
            future.cancel()


class Steps(Generic[T]):
    """An asynchronous iterator of the owner loop, stepped through from elsewhere: one call there for each item.

    Whoever cancels a step does not see it end. It may still be on its way out of the iterator, which cannot be closed
    before: `close` waits for it.
    """

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source
        self._lock = asyncio.Lock()

    async def next(self) -> T | Any:
        """The next item, or END."""
        async with self._lock:
            return await anext(self._source, END)

    async def close(self) -> None:
        """End the iterator, where it can be."""
        async with self._lock:
            aclose = getattr(self._source, "aclose", None)
            if aclose is not None:
                await aclose()


_crossings: ContextVar[Crossings | None] = ContextVar("slipway_crossings", default=None)


class OwnerLoop:
    """A running event loop and how to work on it. Make one with `of_running_loop` or `in_thread`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread | None = None) -> None:
        self.loop = loop
        self._thread = thread

    @classmethod
    def of_running_loop(cls) -> OwnerLoop:
        """The loop that runs the caller; raises RuntimeError outside one."""
        return cls(asyncio.get_running_loop())

    @classmethod
    def in_thread(cls) -> OwnerLoop:
        """A new loop in a daemon thread; `close`, or leaving the `with` block, stops it."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="slipway-owner-loop", daemon=True)
        thread.start()
        return cls(loop, thread)

    def is_current(self) -> bool:
        """Whether the caller runs on this loop."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def run(self, coro: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run `coro` on the loop and wait for its result, from another thread.

        The task sees the caller's context variables. If the caller is interrupted, or `timeout` seconds pass
        (TimeoutError), the task is cancelled. Raises ProgramInvalid on the loop's own thread, where waiting would
        stop everything.
        """
        if self.is_current():
            coro.close()
            raise ProgramInvalid(
                "the program calls the LM synchronously on the server's event loop; give it an aforward method that "
                "awaits acall, or call it from a worker thread"
            )
        future = asyncio.run_coroutine_threadsafe(coro, self.loop)
        crossings = _crossings.get()
        if crossings is not None:
            crossings.add(future)
        try:
            return future.result(timeout)
        except FutureCancelled:
            raise asyncio.CancelledError from None
        except BaseException:
            future.cancel()
            raise

    async def arun(self, coro: Coroutine[Any, Any, T]) -> T:
        """Await `coro` on the owner loop, from any loop."""
        if self.is_current():
            return await coro
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coro, self.loop))

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """Items of an asynchronous iterator that lives on the loop, for a synchronous consumer."""
        steps = Steps(source)
        try:
            while (item := self.run(steps.next())) is not END:
                yield item
        finally:
            if not self.is_current():
                # Not by `run`, which refuses those whose calls were cancelled: they are closed, too.
                asyncio.run_coroutine_threadsafe(steps.close(), self.loop).result()

    def close(self) -> None:
        """Cancel what still runs and end the thread; nothing where the loop is the caller's own."""
        if self._thread is None or self.loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_drain(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def __enter__(self) -> OwnerLoop:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


async def _drain() -> None:
    """End every other task of the loop, its generators and its executor."""
    loop = asyncio.get_running_loop()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
