# SPDX-License-Identifier: Apache-2.0
"""Threads for calls that may never return.

    workers = Workers("slipway-cache-read", threads=16, backlog=1024)
    future = workers.submit(store.get, digest)

Unlike concurrent.futures' pool, the threads are daemons: one that a dead network mount holds for ever does not keep the
process from ending. Their number is the bound on stuck threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Workers:
    """A bounded number of daemon threads, started when needed, and a bounded backlog."""

    def __init__(self, name: str, *, threads: int, backlog: int) -> None:
        self._name = name
        self._limit = threads
        self._backlog = backlog
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._closed = False
        self._lock = threading.Lock()

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run `function(*args)` in a thread. Raises queue.Full where the backlog is full or the workers are closed."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed or self._tasks.qsize() >= self._backlog:
                raise queue.Full
            self._tasks.put((future, function, args))
            self._unfinished += 1
            if len(self._threads) < min(self._unfinished, self._limit):
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def close(self) -> None:
        """End the threads that are idle, now or later; stuck ones die with the process."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._tasks.put(None)

    def is_current(self) -> bool:
        """Whether the caller is one of these threads."""
        return threading.current_thread() in self._threads

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                return
            _run(*task)
            del task
            with self._lock:
                self._unfinished -= 1


def _run(future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args)
    except BaseException as error:  # the caller's to judge
        future.set_exception(error)
    else:
        future.set_result(result)
