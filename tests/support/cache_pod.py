# SPDX-License-Identifier: Apache-2.0
"""One process of a fleet, for tests: `cache_pod.py FOLDER BASE_URL CALLS LEASE_SECONDS`.

Says "ready", waits for a line, makes CALLS identical calls at once and prints the answers with their tiers as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

import dspy

from slipway_server import cache, request
from slipway_server.config import load_settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.stack import open_stack
from slipway_server.runtime.adapter import SlipwayAdapter


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(folder: str, base_url: str, calls: int, lease_seconds: float) -> None:
    settings = load_settings(
        {
            "cache_dir": folder,
            "lm_model": "openai/m",
            "lm_base_url": base_url,
            "lm_api_key": "k",
            "cache_lease_seconds": lease_seconds,
            "cache_timeout_seconds": 10.0,
        },
        environ={},
    )
    shared = cache.open_cache(settings)
    await shared.start()
    cache.install(shared)
    stack = await open_stack(settings, owner=OwnerLoop.of_running_loop(), flight=shared.flight)
    predict = dspy.Predict("question -> answer")

    async def ask() -> str:
        with request.opened(request.RequestContext()) as opened:
            answer = (await predict.acall(question="What is the capital of France?")).answer
            return f"{answer} {'+'.join(opened.account.cache_tiers)}"

    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    with dspy.context(lm=stack.lm, adapter=SlipwayAdapter()):
        answers = await asyncio.gather(*[ask() for _ in range(calls)])
    await stack.aclose()
    await shared.aclose()
    say(json.dumps(Counter(answers)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
