# SPDX-License-Identifier: Apache-2.0
"""The callers of bench/serve.py, in a process of their own; the result is one line of JSON.

python bench/serve_load.py --load '{"target": "127.0.0.1:50051", "callers": 50, "requests": 1000, …}'
python bench/serve_load.py --http '{"base_url": "http://127.0.0.1:8000/v1", …}'     # straight to the provider
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from slipway_server import loop

PROMPT_CHARACTERS = 3000
"""About what the program sends."""


async def load(target: str, callers: int, requests: int, method: str, questions: int) -> dict[str, Any]:
    from slipway_client import AsyncSlipwayClient, SlipwayClientError

    run = os.urandom(4).hex()
    errors: Counter[str] = Counter()

    async def ask(number: int) -> bool:
        question = f"Which port is number {number % questions}?" if questions else f"Which port is {run}-{number}?"
        try:
            await (client.ask(question) if method == "ask" else client.predict({"question": question}))
        except SlipwayClientError as error:
            errors[error.reason or error.code.name] += 1
            return False
        return True

    async with AsyncSlipwayClient(target, deadline_seconds=60) as client:
        await client.serving()
        return await called(ask, callers, requests) | {"errors": dict(errors)}


async def http(base_url: str, callers: int, requests: int, warm_up: int) -> dict[str, Any]:
    """The load without a server in between: a prompt of the same length, straight to the provider."""
    import aiohttp
    import orjson

    async def ask(number: int) -> bool:
        messages = [{"role": "user", "content": f"{number} ".ljust(PROMPT_CHARACTERS, "x")}]
        body = orjson.dumps({"model": "simulated", "messages": messages})
        async with session.post(f"{base_url}/chat/completions", data=body) as response:
            await response.read()
            return response.status == HTTPStatus.OK

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await called(ask, callers, warm_up)
        return await called(ask, callers, requests)


async def called(ask: Callable[[int], Awaitable[bool]], callers: int, requests: int) -> dict[str, Any]:
    """Rate and latencies of the answers to `requests` calls of `ask`, as many at a time as there are callers."""
    numbers = itertools.count()
    seen: list[tuple[float, float]] = []
    """When each answer came, and after how long."""

    async def caller() -> tuple[float, float]:
        first = last = 0.0
        while (number := next(numbers)) < requests:
            started = time.perf_counter()
            answered = await ask(number)
            last = time.perf_counter()
            first = first or last
            if answered:
                seen.append((last, last - started))
        return first, last

    working = [times for times in await asyncio.gather(*(caller() for _ in range(callers))) if times[0]]
    begin, end = max(first for first, _ in working), min(last for _, last in working)
    latencies = sorted(latency for _, latency in seen)
    return {
        "per_second": sum(begin < at <= end for at, _ in seen) / (end - begin) if end > begin else 0.0,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
        "requests": requests,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", help="arguments of `load`, as JSON")
    parser.add_argument("--http", help="arguments of `http`, as JSON")
    arguments = parser.parse_args()
    work = load(**json.loads(arguments.load)) if arguments.load else http(**json.loads(arguments.http))
    print(json.dumps(loop.run(work)))


if __name__ == "__main__":
    main()
