# SPDX-License-Identifier: Apache-2.0
"""Threads for calls that may never return.

    workers = Workers("slipway-cache-read", threads=16, backlog=1024)
    future = workers.submit(store.get, digest)

Unlike concurrent.futures' pool, the threads are daemons: one that a dead network mount holds for ever does not keep the
process from ending. Their number is the bound on stuck threads.

One thread makes the calls, one after the other: several would wait for the interpreter and wake each other most of the
time, which costs more than a call on a quick volume. Where calls wait and none was begun for PATIENCE_SECONDS one more
thread joins, and so on up to the bound, so that a slow volume is asked many things at once and a stuck call holds up no
other.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]

PATIENCE_SECONDS = 0.0005
"""Longer than most calls on a local disk, shorter than those on a network volume."""


class Workers:
    """A bounded number of daemon threads, started when needed, and a bounded backlog."""

    def __init__(self, name: str, *, threads: int, backlog: int) -> None:
        self._name = name
        self._limit = threads
        self._backlog = backlog
        self._tasks: deque[_Task] = deque()
        self._threads: list[_Worker] = []
        self._idle: list[_Worker] = []
        """The last one to have worked is the first to be called: the processor still has its memory at hand."""
        self._busy = 0
        """Threads that take tasks, or are called to do so."""
        self._begun = 0
        self._watched = False
        """One more thread looks whether the busy ones get on."""
        self._closed = False
        self._lock = threading.Lock()

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run `function(*args)` in a thread. Raises queue.Full where the backlog is full or the workers are closed."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed or len(self._tasks) >= self._backlog:
                raise queue.Full
            self._tasks.append((future, function, args))
            self._call()
        return future

    def close(self) -> None:
        """End the threads that are idle, now or later; stuck ones die with the process."""
        with self._lock:
            self._closed = True
            for worker in self._idle:
                worker.called.release()
            self._idle.clear()

    def is_current(self) -> bool:
        """Whether the caller is one of these threads."""
        return threading.current_thread() in self._threads

    # ---- under the lock

    def _call(self) -> None:
        """While tasks wait: a thread to take them where none does, else one to see whether those that do get on."""
        watches = self._busy > 0
        if watches and self._watched:
            return
        if self._idle:
            worker = self._idle.pop()
            worker.watches = watches
            worker.called.release()
        elif len(self._threads) < self._limit:
            worker = _Worker(self._work, f"{self._name}-{len(self._threads)}", watches=watches)
            self._threads.append(worker)
            worker.start()
        else:
            return  # all are busy, or about to be
        if watches:
            self._watched = True
        else:
            self._busy += 1

    # ---- in the threads

    def _work(self, worker: _Worker) -> None:
        while True:
            if worker.watches:
                self._watch(worker)
            while (task := self._next(worker)) is not None:
                _run(*task)
                del task
            if self._closed:
                return
            worker.called.acquire()

    def _watch(self, worker: _Worker) -> None:
        """Return, as one of the busy ones, when no task waits or none was begun for a while."""
        begun = -1
        while True:
            with self._lock:
                if not self._tasks or self._begun == begun:
                    worker.watches = self._watched = False
                    self._busy += 1
                    return
                begun = self._begun
            time.sleep(PATIENCE_SECONDS)

    def _next(self, worker: _Worker) -> _Task | None:
        with self._lock:
            if not self._tasks:
                self._busy -= 1
                self._idle.append(worker)
                return None
            task = self._tasks.popleft()
            self._begun += 1
            if self._tasks:
                self._call()
            return task


class _Worker(threading.Thread):
    """Takes tasks, then waits until it is `called`; one that `watches` lets others take them first."""

    def __init__(self, work: Callable[[_Worker], None], name: str, *, watches: bool) -> None:
        super().__init__(target=work, args=(self,), name=name, daemon=True)
        self.watches = watches
        self.called = threading.Lock()
        self.called.acquire()


def _run(future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args)
    except BaseException as error:  # the caller's to judge
        future.set_exception(error)
    else:
        future.set_result(result)
