# SPDX-License-Identifier: Apache-2.0
"""What sharing is worth: two hosts on one volume, first each with entries of its own, then with the same questions.

Both have the cache open all the time, as pods do. A part of bench/cache.py.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache_stores import CELL_SECONDS, STORES, enter, key_of, meet, record, together

ENTRIES = 400
CALLERS = 16
"""Threads per host that ask; an upstream call is made in the asking thread."""
UPSTREAM_SECONDS = 0.3
PATIENCE_SECONDS = 6 * CELL_SECONDS
SAME = 2
"""The number, in keys, of the questions that both hosts are asked; 0 and 1 are the hosts' own entries."""


@dataclass
class Host:
    """What one host measured."""

    me: int
    found: int = 0
    wrong: int = 0
    failed: int = 0
    swap_seconds: float = 0.0
    """From the first put of the own entries to the last get of the other's, without waiting for the other."""
    upstream_calls: int = 0
    answer_seconds: float = 0.0
    faults: set[str] = field(default_factory=set)


class Guarded:
    """A store whose exceptions are counted: a caller would go on without the cache."""

    def __init__(self, store_name: str, folder: Path, host: Host) -> None:
        self._host = host
        self._store: Any = None
        self._store = self._tried(STORES[store_name], folder)

    def put(self, key: str, value: dict[str, Any]) -> None:
        if self._store is not None:
            self._tried(self._store.put, key, value)

    def get(self, key: str) -> Any:
        return None if self._store is None else self._tried(self._store.get, key)

    def _tried(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:
            self._host.failed += 1
            self._host.faults.add(repr(error)[:100])
            return None


def work(folder: Path, me: int, barrier: Any, out: Any, store_name: str) -> None:
    """One host."""
    host = Host(me)
    volume = enter(folder)
    for turn in (0, 1):  # where both make a FanoutCache at the same time, one of them cannot open it
        if turn == me:
            store = Guarded(store_name, volume, host)
        meet(barrier, PATIENCE_SECONDS)
    swap(store, host, barrier)
    for turn in (0, 1):  # the second host comes when the first has asked everything
        meet(barrier, PATIENCE_SECONDS)
        if turn == me:
            answer(store, host)
    meet(barrier, PATIENCE_SECONDS)
    out.put(host)


def swap(store: Guarded, host: Host, barrier: Any) -> None:
    """Put own entries, then get the other host's."""
    started = time.perf_counter()
    for number in in_time():
        key = key_of(host.me, number)
        store.put(key, record(key))
    host.swap_seconds = time.perf_counter() - started
    meet(barrier, PATIENCE_SECONDS)
    started = time.perf_counter()
    for number in in_time():
        key = key_of(1 - host.me, number)
        value = store.get(key)
        host.found += value == record(key)
        host.wrong += value is not None and value != record(key)
    host.swap_seconds += time.perf_counter() - started


def in_time() -> Iterator[int]:
    """The numbers of a host's entries, until it has taken too long."""
    deadline = time.monotonic() + CELL_SECONDS
    for number in range(ENTRIES):
        if time.monotonic() > deadline:
            return
        yield number


def answer(store: Guarded, host: Host) -> None:
    """Answer the questions that both hosts are asked: from the cache, else from upstream."""
    deadline = time.monotonic() + CELL_SECONDS

    def ask(number: int) -> int:
        key, usable = key_of(SAME, number), time.monotonic() < deadline
        if usable and store.get(key) is not None:
            return 0
        time.sleep(UPSTREAM_SECONDS)
        if usable:
            store.put(key, record(key))
        return 1

    started = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        host.upstream_calls = sum(pool.map(ask, range(ENTRIES)))
    host.answer_seconds = time.perf_counter() - started


def head() -> list[str]:
    """The table's head, and what it means."""
    columns = ["two hosts", "own entries put, the other's got", "found of the other's", "raised"]
    columns += [f"the second host's {ENTRIES} answers", "upstream calls for them"]
    return [
        f"Two hosts with the cache open all the time: {ENTRIES} entries each, put by one and got by the other; then "
        f"{ENTRIES} questions that the first host has",
        f"just answered, asked of the second, {CALLERS} at once. An upstream call takes {UPSTREAM_SECONDS} s.",
        "",
        _row(columns),
        _row(["---"] * len(columns)),
    ]


def hosts(mounts: list[Path]) -> list[str]:
    """The rows of the table."""
    rows = []
    for store in STORES:
        name = f"hosts-{secrets.token_hex(4)}"
        folders = [mount / name for mount in mounts]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        found: list[Host] = sorted(together(work, folders, store), key=lambda host: host.me)
        if len(found) < len(folders):
            rows.append(_row([store, "a host did not come to its end", "-", "-", "-", "-"]))
            continue
        second, right = found[1], sum(host.found for host in found)
        rows.append(
            _row(
                [
                    store,
                    f"{max(host.swap_seconds for host in found):.1f} s",
                    f"{right} of {2 * ENTRIES}, {sum(host.wrong for host in found)} wrong",
                    sum(host.failed for host in found),
                    f"{second.answer_seconds:.1f} s",
                    second.upstream_calls,
                ]
            )
        )
        print(rows[-1], *{fault for host in found for fault in host.faults}, flush=True)
    return rows


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
