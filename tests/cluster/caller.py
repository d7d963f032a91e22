# SPDX-License-Identifier: Apache-2.0
"""What runs in a caller's pod: callers that ask one after the other, and a report of every call.

    python caller.py '{"target": "answers-slipway-headless:50051", "callers": 50, "seconds": 60}'

Begins once a server says SERVING. Prints {"running": true} once every caller has had its first result. Ends after
`seconds`, after `calls` of each caller, or at SIGTERM, when the calls under way have ended; then prints the report as
JSON lines, which `cluster_load` reads:
{"strings": […]}, {"rows": [[…], …]} many times, {"done": <number of rows>}. A row has the fields of cluster_load.Call,
texts as indices into the strings, times in seconds since the epoch. Its code is OK, a gRPC status, or CLIENT for any
other exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from slipway_client import AsyncSlipwayClient, SlipwayClientError

ROWS_PER_LINE = 500


@dataclass(frozen=True)
class Plan:
    """What to do.

    Args:
        target: Whom to call.
        callers: How many ask at the same time.
        channels: Connections to each server; callers take turns on them.
        seconds: End after so long.
        calls: End after so many of each caller; 0 is no bound.
        start_at: Time since the epoch to begin at, for pods that are to ask together; 0 is at once.
        pause_seconds: Wait of a caller between two calls.
        deadline_seconds: Of each call, the client's repeats included.
        questions: Taken in turn, each caller from another one on. {caller} and {number} make them unique.
        key: Routing key, with the same placeholders.
        pin: Variant or digest to ask for.
        bypass_cache: Neither read nor write the cache.
        retries: Whether the client repeats calls, as it does by default.
    """

    target: str
    callers: int = 10
    channels: int = 4
    seconds: float = 600.0
    calls: int = 0
    start_at: float = 0.0
    pause_seconds: float = 0.0
    deadline_seconds: float = 30.0
    questions: Sequence[str] = ("Who founded port {caller}-{number}?",)
    key: str = "user-{caller}"
    pin: str = ""
    bypass_cache: bool = False
    retries: bool = True

    @property
    def options(self) -> list[tuple[str, Any]]:
        """Of every channel: connections of its own, and repeats or none."""
        return [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", int(self.retries))]


@dataclass
class Journal:
    """Every call so far, each text kept once."""

    rows: list[list[float]] = field(default_factory=list)
    strings: dict[str, int] = field(default_factory=dict)

    def add(self, numbers: Sequence[float], texts: Sequence[str]) -> None:
        """One call; the values in the order of cluster_load.Call."""
        self.rows.append([*numbers, *(self.strings.setdefault(text, len(self.strings)) for text in texts)])

    def show(self) -> None:
        """Print the report."""
        say(strings=list(self.strings))
        for start in range(0, len(self.rows), ROWS_PER_LINE):
            say(rows=self.rows[start : start + ROWS_PER_LINE])
        say(done=len(self.rows))


def say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")
    sys.stdout.flush()


class Crowd:
    """The callers of one pod."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._journal = Journal()
        self._stop = asyncio.Event()
        self._silent = plan.callers

    def stop(self) -> None:
        """No further calls."""
        self._stop.set()

    async def run(self) -> Journal:
        """Call until the plan ends, or `stop`."""
        plan = self._plan
        await self._wait(plan.start_at - time.time())
        clients = [
            AsyncSlipwayClient(plan.target, deadline_seconds=plan.deadline_seconds, options=plan.options)
            for _ in range(min(plan.channels, plan.callers))
        ]
        await asyncio.gather(*(self._reached(client) for client in clients))
        ending = asyncio.get_running_loop().call_later(plan.seconds, self.stop)
        await asyncio.gather(*(self._caller(clients[n % len(clients)], n) for n in range(plan.callers)))
        ending.cancel()
        await asyncio.gather(*(client.close() for client in clients))
        return self._journal

    async def _reached(self, client: AsyncSlipwayClient) -> None:
        """Wait for a server: a name that has just got its first address may not be known everywhere yet."""
        while not self._stop.is_set():
            with contextlib.suppress(SlipwayClientError):
                if await client.health(deadline_seconds=2):
                    return
            await self._wait(0.2)

    async def _caller(self, client: AsyncSlipwayClient, caller: int) -> None:
        number = 0
        while not self._stop.is_set() and (self._plan.calls == 0 or number < self._plan.calls):
            await self._call(client, caller, number)
            number += 1
            if number == 1:
                self._silent -= 1
                if self._silent == 0:
                    say(running=True)
            await self._wait(self._plan.pause_seconds)

    async def _call(self, client: AsyncSlipwayClient, caller: int, number: int) -> None:
        plan = self._plan
        question = plan.questions[(caller + number) % len(plan.questions)].format(caller=caller, number=number)
        key = plan.key.format(caller=caller, number=number)
        began = time.time()
        attempts = 0
        try:
            answer = await client.ask(question, routing_key=key, pin=plan.pin, bypass_cache=plan.bypass_cache)
        except SlipwayClientError as error:
            texts = [error.code.name, error.reason or error.message, "", "", "", "", key, question, ""]
        except Exception as error:
            texts = ["CLIENT", repr(error), "", "", "", "", key, question, ""]
        else:
            seen, attempts = answer.receipt, answer.receipt.attempts
            served = [seen.artifact_digest, seen.variant, seen.server, seen.cache]
            texts = ["OK", "", *served, key, question, answer.answer]
        self._journal.add([round(began, 4), round(time.time(), 4), attempts], texts)

    async def _wait(self, seconds: float) -> None:
        """Until the time is over, or `stop`."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stop.wait()


async def main(plan: Plan) -> None:
    crowd = Crowd(plan)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, crowd.stop)
    (await crowd.run()).show()


if __name__ == "__main__":
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
