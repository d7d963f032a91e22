# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PTH104
"""What one put or get costs on the network volume: time, and requests to the file server, which no noise changes.

The server counts them (`gluster volume profile`). The third contender is the floor: bare system calls on files of the
same size, checked for nothing. All take turns, a few entries each, on the same mounts. A part of bench/cache.py.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from cache_stores import STORES, enter, record

ENTRIES, TURN = 160, 20
"""Per step, and of those one after another by the same contender."""
LATER_SECONDS = 2.0
"""Longer than a mount remembers by itself what a name or a file is (1 s)."""
NOT_REQUESTS = ("RELEASE", "RELEASEDIR", "FORGET", "UPCALL", "CI_IATT")
"""Counted by the server, but asked by nobody."""


class Bare:
    """The system calls alone: a file written aside and renamed; opened, read and closed."""

    name = "bare files"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for number in range(256):
            (folder / f"bare/{number:02x}").mkdir(parents=True, exist_ok=True)

    def put(self, key: str, value: dict[str, Any]) -> None:
        temporary = f"{self._folder}/bare/{key}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, orjson.dumps(value))
        os.close(fd)
        os.rename(temporary, f"{self._folder}/bare/{key[:2]}/{key[2:]}")

    def get(self, key: str) -> Any:
        try:
            fd = os.open(f"{self._folder}/bare/{key[:2]}/{key[2:]}", os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return os.read(fd, 1 << 15)
        finally:
            os.close(fd)


CONTENDERS: dict[str, Callable[[Path], Any]] = {**STORES, Bare.name: Bare}


@dataclass
class Cost:
    """Of one contender in one step. Times in seconds."""

    times: list[float] = field(default_factory=list)
    requests: int = 0
    found: int = 0
    failed: int = 0

    def add(self, other: Cost) -> None:
        self.times += other.times
        self.requests += other.requests
        self.found += other.found
        self.failed += other.failed


_opened: dict[str, Any] = {}


def _use(folder: Path, name: str, operation: str, keys: list[str]) -> Cost:
    """In a host's process."""
    cost = Cost()
    try:
        store = _opened.get(name) or _opened.setdefault(name, CONTENDERS[name](folder))
    except Exception:
        return Cost(failed=len(keys))
    for key in keys:
        value = record(key)
        started = time.perf_counter()
        try:
            found = store.put(key, value) if operation == "put" else store.get(key)
        except Exception:
            found, cost.failed = None, cost.failed + 1
        cost.times.append(time.perf_counter() - started)
        cost.found += found in (value, orjson.dumps(value))
    return cost


class Server:
    """Counts the requests that reach the file server since it was last asked."""

    def __init__(self, mount: Path) -> None:
        self._enter = ["nsenter", "-t", mount.parts[2], "-m", "-n", "-p", "--"]
        self._say("start")

    def requests(self) -> int:
        rows = [line.split() for line in self._say("info", "incremental").partition("Interval")[2].splitlines()]
        counts = {row[-1]: int(row[-2]) for row in rows if len(row) > 2 and row[-1].isupper() and row[-2].isdigit()}
        return sum(count for name, count in counts.items() if name not in NOT_REQUESTS)

    def stop(self) -> None:
        self._say("stop")

    def _say(self, *words: str) -> str:
        command = [*self._enter, "gluster", "--mode=script", "volume", "profile", "shared", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def requests(place: str, mounts: list[Path]) -> list[str]:
    """The rows of one volume."""
    name = f"requests-{secrets.token_hex(4)}"
    one, two = (mount / name for mount in mounts)
    one.mkdir()
    server = Server(one)
    keys, absent = ([secrets.token_hex(32) for _ in range(ENTRIES)] for _ in range(2))
    folders = [f"{number:02x}{secrets.token_hex(31)}" for number in range(256)]
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, context, enter, (one,)) as here,
        ProcessPoolExecutor(1, context, enter, (two,)) as there,
    ):

        def use(host: ProcessPoolExecutor, *what: Any) -> Cost:
            return host.submit(_use, Path("/", *(one if host is here else two).parts[4:]), *what).result()

        def step(
            host: ProcessPoolExecutor, operation: str, asked: list[str], *, wait_seconds: float = 0, again: bool = False
        ) -> list[Cost]:
            time.sleep(wait_seconds)
            costs = {contender: Cost() for contender in CONTENDERS}
            for start in range(0, len(asked), TURN):
                for contender, cost in costs.items():
                    if again:
                        use(host, contender, operation, asked[start : start + TURN])
                    server.requests()
                    cost.add(use(host, contender, operation, asked[start : start + TURN]))
                    cost.requests += server.requests()
            return list(costs.values())

        for contender in CONTENDERS:  # both hosts have it open all the time, and the folders of a volume are made once
            use(here, contender, "put", folders)
            use(there, contender, "get", folders)
        rows = [
            _row([place, what, *(cell for cost in costs for cell in _cells(cost, what))])
            for what, costs in (
                ("put", step(here, "put", keys)),
                ("get of one's own, first", step(here, "get", keys)),
                ("get of one's own, later", step(here, "get", keys, wait_seconds=LATER_SECONDS)),
                ("get of the other host's, first", step(there, "get", keys)),
                ("get of the other host's, again within a second", step(there, "get", keys, again=True)),
                ("get of the other host's, later", step(there, "get", keys, wait_seconds=LATER_SECONDS)),
                ("get of what is not there", step(there, "get", absent)),
            )
        ]
    server.stop()
    print(*rows, sep="\n", flush=True)
    return rows


def head() -> list[str]:
    """The table's head."""
    columns = ["volume", "two hosts, one operation at a time"]
    for contender in CONTENDERS:
        columns += [f"{contender}: p50, µs", "requests", "found"]
    return [_row(columns), _row(["---"] * len(columns))]


def _cells(cost: Cost, what: str) -> list[str]:
    count = max(1, len(cost.times))
    found = "-" if what == "put" or "not there" in what else f"{cost.found} of {count}"
    failed = f", {cost.failed} failed" if cost.failed else ""
    median = f"{1e6 * statistics.median(cost.times):,.0f}" if cost.times else "-"
    return [median, f"{cost.requests / count:.1f}", found + failed]


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
