# SPDX-License-Identifier: Apache-2.0
"""CPU that the governor adds to an LM call on an idle path: no wait, no retry, a backend that answers at once.

    python bench/governor.py [--calls 20000]

Microseconds of process CPU per call, best of five rounds, less the same calls at the bare backend.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from dspy import lm15

from slipway_server import request
from slipway_server.lm import exchange
from slipway_server.lm.governor import Governor, GovernorConfig
from slipway_server.lm.pacing.fixed import FixedPacer
from slipway_server.lm.pacing.priced import PricedConfig, PricedPacer
from slipway_server.lm.pacing.share import SharePacer
from slipway_server.lm.pacing.types import Pacer, Unpaced

REQUEST = lm15.Request(
    model="openai/any",
    system="Given the fields `question`, produce the fields `answer`." * 10,
    messages=(lm15.Message.user("What is the capital of France?" * 20),),
    config=lm15.Config(max_tokens=1000),
)
RESPONSE = lm15.Response(
    id=None,
    model="any",
    message=lm15.Message.assistant("Paris"),
    finish_reason="stop",
    usage=lm15.Usage(input_tokens=170, output_tokens=20),
)
HEADERS = [
    ("date", "Sat, 21 Nov 2026 12:00:00 GMT"),
    ("content-type", "application/json"),
    ("x-request-id", "req_1"),
    ("x-ratelimit-limit-requests", "100000000"),
    ("x-ratelimit-remaining-requests", "99999999"),
    ("x-ratelimit-reset-requests", "12ms"),
    ("x-ratelimit-limit-tokens", "100000000000"),
    ("x-ratelimit-remaining-tokens", "99999999999"),
    ("x-ratelimit-reset-tokens", "12ms"),
]
LIMITS = {"requests": 1e8, "tokens": 1e11}
"""So high that nothing ever waits: what is measured is the way, not the wait."""


class InstantBackend:
    """Answers at once; with rate-limit headers where `headers` is set."""

    def __init__(self, *, headers: bool) -> None:
        self._headers = HEADERS if headers else HEADERS[:3]

    async def complete(self, request: lm15.Request) -> lm15.Response:
        exchange.replied(self._headers)
        return RESPONSE

    async def stream(self, request: lm15.Request) -> AsyncIterator[lm15.StreamEvent]:
        for event in lm15.response_to_events(RESPONSE):
            yield event

    async def aclose(self) -> None:
        """Nothing to close."""


async def cpu_microseconds(complete: Callable[[lm15.Request], Awaitable[object]], calls: int) -> float:
    """CPU per call, best of five rounds."""
    rounds = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(calls):
            await complete(REQUEST)
        rounds.append((time.process_time() - started) / calls * 1e6)
    return min(rounds)


async def measure(calls: int) -> dict[str, float]:
    """Overhead by kind of pacing, in microseconds of CPU per call."""
    pacers: dict[str, Callable[[], Pacer]] = {
        "off": Unpaced,
        "fixed": lambda: FixedPacer(LIMITS),
        "share": lambda: SharePacer(LIMITS, now=time.monotonic),
        "priced": lambda: PricedPacer(PricedConfig(), LIMITS, now=time.monotonic),
    }
    overhead = {}
    for kind, make in pacers.items():
        backend = InstantBackend(headers=kind == "priced")
        bare = await cpu_microseconds(backend.complete, calls)
        governor = Governor(GovernorConfig(model="openai/any", prices=(0.15, 0.6)), backend, make())
        context = request.RequestContext(deadline=time.monotonic() + 3600)
        with request.opened(context):
            overhead[kind] = await cpu_microseconds(governor.complete, calls) - bare
    return overhead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    print("| pacing | CPU per call, µs |\n| --- | --- |")
    for kind, microseconds in asyncio.run(measure(parser.parse_args().calls)).items():
        print(f"| {kind} | {microseconds:.1f} |")


if __name__ == "__main__":
    main()
