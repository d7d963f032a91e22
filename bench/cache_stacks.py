# SPDX-License-Identifier: Apache-2.0
"""What a look-up costs a pod through the whole stack: Slipway's cache and DSPy's own, each as DSPy calls it.

Memory tier in front, volume behind; `get` is awaited in a thread, one after another and 16 at once. A part of
bench/cache.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from cache_stores import TEXT, enter, record, together
from dspy.clients.cache import Cache

from slipway_server.cache import AnswerMemo, CacheConfig, SharedCache
from slipway_server.config import load_settings

REQUESTS, ROUNDS, AT_ONCE = 64, 8, 16


def stacks(place: str, folder: Path) -> list[str]:
    """The rows of one place. A process of its own works there: the mounts are seen in their namespace only."""
    folder.mkdir()
    found = together(work, [folder], place)
    print(*(found[0] if found else []), sep="\n", flush=True)
    return found[0] if found else [_row([place, "did not come to its end", "-", "-"])]


def work(folder: Path, _: int, __: Any, out: Any, place: str) -> None:
    """In that process."""
    out.put(asyncio.run(measured(place, enter(folder))))


async def measured(place: str, folder: Path) -> list[str]:
    """Microseconds per look-up, the best of some rounds, since others use the machine too."""
    settings = load_settings(
        {"cache_dir": folder / "ours", "cache_answers": True, "cache_timeout_seconds": 10.0}, environ={}
    )
    ours, ours_disk = (
        SharedCache(CacheConfig.from_settings(settings.model_copy(update={"cache_memory_bytes": size})))
        for size in (settings.cache_memory_bytes, 0)
    )
    stock, stock_disk = (Cache(True, memory, str(folder / "stock"), 30_000_000_000, 1000) for memory in (True, False))
    requests = [_request(number) for number in range(REQUESTS)]
    for request in requests:
        for one in (ours, stock):
            one.put(request, record(str(request["seed"])))
    await ours.volume.flush()
    digests = [ours.keys.of_request(request) for request in requests]
    memo, inputs = AnswerMemo(ours), {"question": "What is a slipway?"}
    await memo.put("d" * 64, inputs, "v1", {"outputs": {"answer": "A ramp."}, "citations": [["1", "Ships", 0.9]]})

    def threaded(cache: Any) -> Callable[[int], Coroutine[Any, Any, Any]]:
        return lambda number: asyncio.to_thread(cache.get, requests[number])

    pairs = {
        "memory": (threaded(ours), threaded(stock), 1),
        f"memory, {AT_ONCE} at once": (threaded(ours), threaded(stock), AT_ONCE),
        "volume": (threaded(ours_disk), threaded(stock_disk), 1),
        f"volume, {AT_ONCE} at once": (threaded(ours_disk), threaded(stock_disk), AT_ONCE),
        "volume, awaited on the loop": (lambda number: ours_disk.read(digests[number]), None, 1),
        f"volume, awaited on the loop, {AT_ONCE} at once": (
            lambda number: ours_disk.read(digests[number]),
            None,
            AT_ONCE,
        ),
        "whole answer (memo), memory": (lambda _: memo.get("d" * 64, inputs, "v1"), None, 1),
    }
    best: dict[str, list[float]] = {what: [float("inf")] * 2 for what in pairs}
    for _ in range(ROUNDS):
        for what, (one, other, at_once) in pairs.items():
            for number, look_up in enumerate((one, other)):
                if look_up is not None:
                    best[what][number] = min(best[what][number], await _each(look_up, at_once))
    for cache in (ours, ours_disk):
        await cache.aclose()
    return [_row([place, what, *map(_micros, seconds)]) for what, seconds in best.items()]


async def _each(look_up: Callable[[int], Coroutine[Any, Any, Any]], at_once: int) -> float:
    """Seconds per look-up; endless where one found nothing."""
    started, found = time.perf_counter(), []
    for start in range(0, REQUESTS, at_once):
        found += await asyncio.gather(*(look_up(number) for number in range(start, start + at_once)))
    return float("inf") if None in found else (time.perf_counter() - started) / REQUESTS


def _request(number: int) -> dict[str, Any]:
    return {
        "model": "openai/m",
        "messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": TEXT}],
        "temperature": 0.0,
        "seed": number,
        "_fn_identifier": "dspy.clients.lm.alitellm_completion",
    }


def head() -> list[str]:
    """The table's head."""
    return [_row(["place", "look-up, µs each", "Slipway", "DSPy's cache"]), _row(["---"] * 4)]


def _micros(seconds: float) -> str:
    return "-" if seconds == float("inf") else f"{1e6 * seconds:.0f}"


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
