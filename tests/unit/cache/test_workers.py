# SPDX-License-Identifier: Apache-2.0
"""Threads for calls that may hang: each call gets its own up to the bound, and no more wait than may."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from slipway_server.cache import workers as module
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


def test_a_heap_of_calls_is_made_by_one_thread(go_on: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 30)
    workers = Workers("test", threads=8, backlog=100)
    first = workers.submit(go_on.wait, 30)
    rest = [workers.submit(threading.get_ident) for _ in range(50)]
    go_on.set()
    assert first.result(25)
    assert len({future.result(25) for future in rest}) == 1
    workers.close()


def test_stuck_calls_in_a_heap_hold_up_no_other(go_on: threading.Event) -> None:
    workers, begun = Workers("test", threads=8, backlog=100), threading.Semaphore(0)

    def hang() -> bool:
        begun.release()
        return go_on.wait(60)

    stuck = [workers.submit(hang) for _ in range(7)]
    quick = [workers.submit(str, number) for number in range(50)]
    assert all(begun.acquire(timeout=30) for _ in stuck)
    assert [future.result(30) for future in quick] == [str(number) for number in range(50)]
    go_on.set()
    assert all(future.result(30) for future in stuck)
    workers.close()


def test_no_call_is_forgotten_whoever_makes_it_and_whenever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0001)
    workers = Workers("test", threads=4, backlog=10_000)

    def ask() -> None:
        for number in range(200):
            assert workers.submit(str, number).result(60) == str(number)

    askers = [Workers(f"asker {number}", threads=1, backlog=1).submit(ask) for number in range(6)]
    assert [asker.result(120) for asker in askers] == [None] * 6
    workers.close()
    for thread in workers._threads:
        thread.join(30)
        assert not thread.is_alive()
