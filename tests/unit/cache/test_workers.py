# SPDX-License-Identifier: Apache-2.0
"""Threads for calls that may hang: each call gets its own up to the bound, and no more wait than may."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from slipway_server.cache.workers import Workers


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """Lets go of what hangs."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_waits_for_no_other_while_there_are_threads(go_on: threading.Event) -> None:
    workers = Workers("test", threads=4, backlog=10)
    for _ in range(3):
        workers.submit(go_on.wait, 30)
        assert workers.submit(lambda: "done").result(5) == "done"
    workers.close()


def test_threads_and_backlog_are_bounded(go_on: threading.Event) -> None:
    workers, begun = Workers("test", threads=2, backlog=3), threading.Semaphore(0)

    def hang() -> bool:
        begun.release()
        return go_on.wait(30)

    stuck = [workers.submit(hang) for _ in range(2)]
    assert all(begun.acquire(timeout=5) for _ in stuck)
    waiting = [workers.submit(str, number) for number in range(3)]
    with pytest.raises(queue.Full):
        workers.submit(str)
    assert waiting[1].cancel()
    go_on.set()
    assert [future.result(5) for future in (*stuck, waiting[0], waiting[2])] == [True, True, "0", "2"]
    assert len(workers._threads) == 2
    workers.close()
    with pytest.raises(queue.Full):
        workers.submit(str)


def test_what_a_call_raises_reaches_its_caller_only() -> None:
    workers = Workers("test", threads=1, backlog=1)
    assert isinstance(workers.submit(int, "x").exception(5), ValueError)
    assert workers.submit(int, "1").result(5) == 1
    workers.close()
