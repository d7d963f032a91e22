# SPDX-License-Identifier: Apache-2.0
"""What a get costs a pod on the network volume: of what it has put itself, and of what another host's pod has put.

Pods are processes with their cache open all the time; every other one uses the other mount. Each puts entries, then all
get at the same time. Slipway's cache is asked on the event loop, as its single flight, embedding client and answer memo
ask it: memory there, else the volume in a thread. DSPy's is called without a thread, though its LM uses one (see
cache_stacks for that). Both are given a request and make its key; the two stores alone are given a key. A part of
bench/cache.py.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from cache_stores import CELL_SECONDS, Fanout, Files, enter, key_of, meet, record, request_of, together
from dspy.clients.cache import Cache

from slipway_server.cache import CacheConfig, SharedCache
from slipway_server.config import load_settings

PODS = (1, 2, 4, 8)
ENTRIES, TURN = 100, 20
"""Per pod, and of those got first and then got again, which must take less than a second."""
LATER_SECONDS = 2.0
"""Longer than a mount remembers by itself what a name or a file is (1 s)."""
PHASE_SECONDS = 10.0
PATIENCE_SECONDS = 4 * CELL_SECONDS
OWN, FIRST, AGAIN, LATER = "its own", "another's, first", "another's, again at once", "another's, again after 2 s"


class SlipwayPod:
    """Memory and volume. With two hosts on two cores the volume may take longer than a pod would wait."""

    name = "Slipway's cache"

    def __init__(self, folder: Path) -> None:
        values = {"cache_dir": folder / "pods", "cache_timeout_seconds": PHASE_SECONDS}
        self._shared = SharedCache(CacheConfig.from_settings(load_settings(values, environ={})))

    async def put(self, number: int, value: dict[str, Any]) -> None:
        self._shared.put(request_of(number), value)

    async def get(self, number: int) -> Any:
        digest = self._shared.keys.of_request(request_of(number))
        found = self._shared.find(digest) or await self._shared.read(digest)
        return None if found is None else orjson.loads(found)

    async def settle(self) -> None:
        if self._shared.volume:
            await self._shared.volume.flush()


class DspyPod:
    """Memory tier and FanoutCache. The loop waits: it has nothing else to do here."""

    name = "DSPy's cache"

    def __init__(self, folder: Path) -> None:
        self._cache = Cache(True, True, str(folder / "stock"), 30_000_000_000, 1_000_000)

    async def put(self, number: int, value: dict[str, Any]) -> None:
        self._cache.put(request_of(number), value)

    async def get(self, number: int) -> Any:
        return self._cache.get(request_of(number))

    async def settle(self) -> None:
        """It writes at once."""


class Alone:
    """A store that is given keys."""

    def __init__(self, store: Files | Fanout) -> None:
        self._store = store

    async def put(self, number: int, value: dict[str, Any]) -> None:
        self._store.put(key_of(0, number), value)

    async def get(self, number: int) -> Any:
        return self._store.get(key_of(0, number))

    async def settle(self) -> None:
        """It writes at once."""


Pod = SlipwayPod | DspyPod | Alone
OURS: dict[str, Callable[[Path], Pod]] = {
    SlipwayPod.name: SlipwayPod,
    f"{Files.name}'s store": lambda folder: Alone(Files(folder / "alone")),
}
THEIRS: dict[str, Callable[[Path], Pod]] = {
    DspyPod.name: DspyPod,
    Fanout.name: lambda folder: Alone(Fanout(_made(folder / "alone"))),
}
COLUMNS = (SlipwayPod.name, DspyPod.name, *list(OURS)[1:], *list(THEIRS)[1:])


@dataclass
class Seen:
    """Of one contender, one kind of get. Times in seconds."""

    times: list[float] = field(default_factory=list)
    asked: int = 0
    right: int = 0
    wrong: int = 0
    raised: int = 0

    def add(self, other: Seen) -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def cells(self) -> list[str]:
        p50, p99 = (
            (
                f"{1e6 * one:,.0f}"
                for one in (statistics.median(self.times), statistics.quantiles(self.times, n=100)[98])
            )
            if len(self.times) > 1
            else ("-", "-")
        )
        odd = [f"{count} {what}" for count, what in ((self.wrong, "wrong"), (self.raised, "raised")) if count]
        return [p50, p99, ", ".join([f"{100 * self.right / self.asked:.0f} %" if self.asked else "-", *odd])]


Seens = dict[tuple[str, str], Seen]


def work(folder: Path, me: int, barrier: Any, out: Any, kinds: dict[str, Any], readers: int) -> None:
    """One pod. Where one alone is asked for, the second puts entries for it and does not get."""
    volume, seens = enter(folder), Seens()
    for name in kinds:
        asyncio.run(_life(name, volume, me, barrier, seens, readers))
    out.put(seens)


async def _life(name: str, volume: Path, me: int, barrier: Any, seens: Seens, readers: int) -> None:
    pods = max(2, readers)
    pod: Pod | None = None
    for turn in range(pods):  # where several make a FanoutCache at the same time, some cannot open it
        if turn == me:
            pod = _opened(name, volume)
        meet(barrier, PATIENCE_SECONDS)
    own, others = ([ENTRIES * who + number for number in range(ENTRIES)] for who in (me, (me + 1) % pods))
    if pod:
        await _each(own, Seen(), lambda number: pod.put(number, _value(number)))
        await pod.settle()
    for what in (OWN, FIRST, LATER):
        meet(barrier, PATIENCE_SECONDS)
        if me >= readers:
            continue
        asked = own if what is OWN else others
        for kind in (FIRST, AGAIN) if what is FIRST else (what,):
            seens[name, kind] = Seen(asked=ENTRIES, raised=0 if pod else 1)
        if pod and what is FIRST:
            for start in range(0, ENTRIES, TURN):
                for kind in (FIRST, AGAIN):
                    await _each(asked[start : start + TURN], seens[name, kind], pod.get)
        elif pod:
            await asyncio.sleep(LATER_SECONDS)
            await _each(asked, seens[name, what], pod.get)
    meet(barrier, PATIENCE_SECONDS)


def _opened(name: str, volume: Path) -> Pod | None:
    try:
        return {**OURS, **THEIRS}[name](volume)
    except Exception:
        return None


async def _each(numbers: list[int], seen: Seen, call: Callable[[int], Awaitable[Any]]) -> None:
    deadline = time.monotonic() + PHASE_SECONDS
    for number in numbers:
        if time.monotonic() > deadline:
            return
        started, value = time.perf_counter(), None
        try:
            value = await call(number)
        except Exception:
            seen.raised += 1
        seen.times.append(time.perf_counter() - started)
        expected = _value(number)
        seen.right += value == expected
        seen.wrong += value is not None and value != expected


def _value(number: int) -> dict[str, Any]:
    return record(key_of(0, number))


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def pods(mounts: list[Path]) -> list[str]:
    """The rows of the table."""
    rows = []
    for readers in PODS:
        total = {(name, what): Seen() for name in COLUMNS for what in (OWN, FIRST, AGAIN, LATER)}
        for kinds in (OURS, THEIRS):  # apart, since FanoutCache's processes may die
            name = f"pods-{secrets.token_hex(4)}"
            folders = [mounts[me % len(mounts)] / name for me in range(max(2, readers))]
            for folder in set(folders):
                folder.mkdir(exist_ok=True)
            reports: list[Seens] = [seens for seens in together(work, folders, list(kinds), readers) if seens]
            for report in reports:
                for key, seen in report.items():
                    total[key].add(seen)
            for name, what in total:
                if name in kinds and len(reports) < readers:
                    lost = readers - len(reports)
                    total[name, what].add(Seen(asked=lost * ENTRIES, raised=lost))
        for what in (OWN, FIRST, AGAIN, LATER):
            seens = [total[name, what] for name in COLUMNS]
            cells = [cell for seen in seens for cell in seen.cells()]
            rows.append(_row([readers, what, *cells, _faster(seens[1], seens[0]), _faster(seens[3], seens[0])]))
            print(rows[-1], flush=True)
    return rows


def _faster(slow: Seen, fast: Seen) -> str:
    return f"{statistics.median(slow.times) / statistics.median(fast.times):.1f}" if slow.times and fast.times else "-"


def head() -> list[str]:
    """The table's head, and what it means."""
    columns = ["pods", "get of"]
    for name in COLUMNS:
        columns += [f"{name}: p50", "p99", "found"]
    columns += [f"p50: {name} to {COLUMNS[0]}" for name in (COLUMNS[1], COLUMNS[3])]
    return [
        f"Pods on two hosts with the cache open all the time, all getting at once. {COLUMNS[0]} and {COLUMNS[1]}",
        "are what an LM asks, memory tier first, with its default size; the two stores alone have no memory tier. µs.",
        "",
        _row(columns),
        _row(["---"] * len(columns)),
    ]


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
