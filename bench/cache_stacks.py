# SPDX-License-Identifier: Apache-2.0
"""What a look-up costs a pod through the whole stack: Slipway's cache and DSPy's own, each as DSPy calls it.

Memory tier in front, volume behind; `get` is awaited in a thread, one after another and 16 at once. `LM call` is the
whole of `lm.acall`, of which the look-up is a part. A part of bench/cache.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import dspy
from cache_stores import TEXT, enter, record, request_of, together
from dspy import lm15
from dspy.clients.cache import Cache

from slipway_server.cache import AnswerMemo, CacheConfig, SharedCache
from slipway_server.config import load_settings
from slipway_server.lm.model import SlipwayLM
from slipway_server.lm.offline import ExtractiveReader

REQUESTS, ROUNDS, AT_ONCE = 64, 8, 16


class Upstream:
    """The engine of an LM: answers at once, and counts."""

    supported_params = frozenset({"temperature", "max_tokens"})
    supports_function_calling = supports_reasoning = supports_response_schema = False

    def __init__(self) -> None:
        self.calls = 0

    async def complete(self, request: lm15.Request) -> lm15.Response:
        self.calls += 1
        usage = lm15.Usage(input_tokens=900, output_tokens=400, total_tokens=1300)
        message = lm15.Message.assistant(TEXT)
        return lm15.Response(id=None, model=request.model, message=message, finish_reason="stop", usage=usage)


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
    requests = [request_of(number) for number in range(REQUESTS)]
    for request in requests:
        for one in (ours, stock):
            one.put(request, record(str(request["seed"])))
    await ours.volume.flush()
    digests = [ours.keys.of_request(request) for request in requests]
    memo, inputs = AnswerMemo(ours), {"question": "What is a slipway?"}
    await memo.put("d" * 64, inputs, "v1", {"outputs": {"answer": "A ramp."}, "citations": [["1", "Ships", 0.9]]})

    def threaded(cache: Any) -> Callable[[int], Coroutine[Any, Any, Any]]:
        return lambda number: asyncio.to_thread(cache.get, requests[number])

    upstream = Upstream()

    def called(cache: Any) -> Callable[[int], Coroutine[Any, Any, Any]]:
        flight = cache.flight if isinstance(cache, SharedCache) else None
        lm = SlipwayLM("openai/m", engine=ExtractiveReader(), async_engine=upstream, flight=flight, cache=True)

        def call(number: int) -> Coroutine[Any, Any, Any]:
            dspy.cache = cache
            return lm.acall(messages=requests[number]["messages"], temperature=0.0, max_tokens=1000 + number)

        return call

    for cache in (ours, stock):
        await _each(called(cache), 1)
    await ours.volume.flush()
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
        "LM call, memory": (called(ours), called(stock), 1),
        "LM call, volume": (called(ours_disk), called(stock_disk), 1),
        f"LM call, volume, {AT_ONCE} at once": (called(ours_disk), called(stock_disk), AT_ONCE),
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
    if upstream.calls != 2 * REQUESTS:
        raise RuntimeError(f"{upstream.calls - 2 * REQUESTS} calls went upstream")
    return [_row([place, what, *map(_micros, seconds)]) for what, seconds in best.items()]


async def _each(look_up: Callable[[int], Coroutine[Any, Any, Any]], at_once: int) -> float:
    """Seconds per look-up; endless where one found nothing."""
    started, found = time.perf_counter(), []
    for start in range(0, REQUESTS, at_once):
        found += await asyncio.gather(*(look_up(number) for number in range(start, start + at_once)))
    return float("inf") if None in found else (time.perf_counter() - started) / REQUESTS


def head() -> list[str]:
    """The table's head."""
    return [_row(["place", "look-up, µs each", "Slipway", "DSPy's cache"]), _row(["---"] * 4)]


def _micros(seconds: float) -> str:
    return "-" if seconds == float("inf") else f"{1e6 * seconds:.0f}"


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
