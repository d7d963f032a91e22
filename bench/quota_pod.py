# SPDX-License-Identifier: Apache-2.0
"""One pod of bench/quota.py: offers load to the provider through one client, and reports every request.

Reads its plan from the first argument (JSON), prints "ready", waits for a line on standard input, works, and prints
one JSON list: [arrived, class, outcome, seconds, attempts] per request, times in seconds after that line.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

import dspy
from aiolimiter import AsyncLimiter
from dspy.utils.exceptions import LMRateLimitError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from slipway_server import request
from slipway_server.config import load_settings
from slipway_server.errors import OverloadError
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.stack import PEERS_SECONDS, LMStack, open_stack

DEADLINE_SECONDS = {"interactive": 30.0, "batch": 60.0}
DRAIN_SECONDS = 65.0
"""Beyond the longest deadline: by then every call has ended, or is lost."""
QUESTION = "What is the capital of France? " * 8


class Client(Protocol):
    """Makes one call; returns the number of attempts, raises where there is no answer."""

    async def call(self, traffic_class: str) -> int: ...


class Slipway:
    """The governor, as a pod runs it."""

    def __init__(self, stack: LMStack) -> None:
        self._stack = stack

    async def follow(self, peers: list[tuple[float, int]]) -> None:
        """Learn how many pods there are as from a headless service: the right number, PEERS_SECONDS late."""
        passed = 0.0
        for at, count in peers:
            await asyncio.sleep(max(0.0, at + PEERS_SECONDS - passed))
            passed = at + PEERS_SECONDS
            self._stack.governor.pacer.set_pods(count)

    async def call(self, traffic_class: str) -> int:
        deadline = time.monotonic() + DEADLINE_SECONDS[traffic_class]
        context = request.RequestContext(deadline=deadline, traffic_class=request.TrafficClass(traffic_class))
        with request.opened(context):
            await self._stack.lm.acall(QUESTION)
        return context.account.attempts


class Bare:
    """dspy.LM; with its own retries (the default), or with none."""

    def __init__(self, plan: dict[str, Any], **settings: Any) -> None:
        self._lm = dspy.LM("openai/m", api_base=plan["base_url"], api_key="bench", cache=False, **settings)

    async def call(self, traffic_class: str) -> int:
        await self._lm.acall(QUESTION)
        return 1


class Tenacity:
    """The usual decorator around a call: six attempts, random exponential waits."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._bare = Bare(plan, num_retries=0)

    async def call(self, traffic_class: str) -> int:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(LMRateLimitError),
            wait=wait_random_exponential(max=60),
            stop=stop_after_attempt(6),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                await self._bare.call(traffic_class)
        return int(retrying.statistics["attempt_number"])


class Shared:
    """aiolimiter with this pod's part of the limit, fixed at the start; DSPy's retries behind it."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._bare = Bare(plan)
        self._limiter = AsyncLimiter(plan["rpm"] / plan["pods"], 60)

    async def call(self, traffic_class: str) -> int:
        await self._limiter.acquire()
        return await self._bare.call(traffic_class)


class Adaptive:
    """AWS's adaptive retry mode: a send rate that follows CUBIC after the first 429, three attempts.

    Parameters as in botocore's retries package: beta 0.7, C 0.4, at least 0.5/s, at most twice the measured rate.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._bare = Bare(plan, num_retries=0)
        self._throttled = False
        self._rate = self._tokens = self._peak = self._flat = self._measured = 0.0
        self._at = self._failed = self._slot = time.monotonic()
        self._sent = 0

    async def call(self, traffic_class: str) -> int:
        for attempt in range(1, 4):
            await self._take()
            try:
                await self._bare.call(traffic_class)
            except LMRateLimitError:
                self._on_throttle()
                if attempt == 3:
                    raise
                await asyncio.sleep(random.random() * min(2.0 ** (attempt - 1), 20.0))
            else:
                self._on_success()
                return attempt
        raise AssertionError

    async def _take(self) -> None:
        while self._throttled:
            self._refill()
            if self._tokens >= 1:
                self._tokens -= 1
                return
            await asyncio.sleep((1 - self._tokens) / self._rate)

    def _refill(self) -> None:
        now = time.monotonic()
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._at) * self._rate)
        self._at = now

    def _measure(self) -> float:
        now, self._sent = time.monotonic(), self._sent + 1
        if now - self._slot >= 0.5:
            self._measured = 0.8 * self._sent / (now - self._slot) + 0.2 * self._measured
            self._sent, self._slot = 0, now
        return self._measured

    def _set(self, rate: float) -> None:
        self._refill()
        self._rate = max(0.5, rate)

    def _on_success(self) -> None:
        measured = self._measure()
        if self._throttled:
            since = time.monotonic() - self._failed
            self._set(min(0.4 * (since - self._flat) ** 3 + self._peak, 2 * measured))

    def _on_throttle(self) -> None:
        measured = self._measure()
        self._peak = min(measured, self._rate) if self._throttled else measured
        self._flat = (self._peak * 0.3 / 0.4) ** (1 / 3)
        self._failed, self._throttled = time.monotonic(), True
        self._set(min(0.7 * self._peak, 2 * measured))


async def make_client(plan: dict[str, Any]) -> Client:
    """The client that the plan names."""
    match plan["client"]:
        case "dspy":
            return Bare(plan)
        case "tenacity":
            return Tenacity(plan)
        case "aiolimiter":
            return Shared(plan)
        case "aws-adaptive":
            return Adaptive(plan)
    overrides = {
        "lm_model": "openai/m",
        "lm_base_url": plan["base_url"],
        "lm_api_key": "bench",
        "lm_rpm": plan["rpm"],
        "lm_burst_seconds": plan["burst_seconds"],
        "lm_replicas": plan["pods"],
        "cache": "off",
    }
    settings = load_settings(overrides=overrides, environ={})
    return Slipway(await open_stack(settings, owner=OwnerLoop.of_running_loop()))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__


async def one(client: Client, traffic_class: str, start: float, results: list[list[Any]]) -> None:
    """One request, and its row."""
    arrived, outcome, attempts = time.monotonic(), "unfinished", 0
    try:
        async with asyncio.timeout(90):
            attempts = await client.call(traffic_class)
        outcome = "answered"
    except Exception as error:
        outcome = (
            "refused" if any(isinstance(link, OverloadError) for link in chain(error)) else f"failed {error!r:.80}"
        )
    finally:
        results.append([arrived - start, traffic_class, outcome, time.monotonic() - arrived, attempts])


async def offer(client: Client, traffic_class: str, plan: dict[str, Any], start: float, results: list[Any]) -> None:
    """Poisson arrivals of one class while this pod lives."""
    dice = random.Random(f"{plan['seed']} {traffic_class}")
    rate = plan["rates"][traffic_class]
    tasks: set[asyncio.Task[None]] = set()
    at = plan["joins"]
    while rate > 0:
        at += dice.expovariate(rate)
        if at >= plan["leaves"]:
            break
        await asyncio.sleep(max(0.0, start + at - time.monotonic()))
        task = asyncio.create_task(one(client, traffic_class, start, results))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        _, unfinished = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


async def main() -> None:
    """Run the plan."""
    plan = json.loads(sys.argv[1])
    client = await make_client(plan)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    start = time.monotonic()
    results: list[list[Any]] = []
    following = asyncio.create_task(client.follow(plan["peers"])) if isinstance(client, Slipway) else None
    await asyncio.gather(*(offer(client, name, plan, start, results) for name in plan["rates"]))
    if following:
        following.cancel()
    print(json.dumps([[round(x, 4) if isinstance(x, float) and math.isfinite(x) else x for x in r] for r in results]))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
