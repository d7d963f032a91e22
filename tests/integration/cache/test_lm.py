# SPDX-License-Identifier: Apache-2.0
"""The cache under DSPy's real call path, with the governor and a provider over HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dspy
import pytest

from slipway_server import cache, request
from slipway_server.config import load_settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.stack import open_stack
from slipway_server.runtime.adapter import SlipwayAdapter
from slipway_server.simulate.server import Provider

Ask = Callable[..., Awaitable[tuple[str, dict[str, int]]]]


@asynccontextmanager
async def asking(folder: Path, provider: Provider, **overrides: Any) -> AsyncIterator[Ask]:
    """A pod: `await ask("question")` gives the answer and the tiers that the receipt would tell."""
    settings = load_settings(
        {"cache_dir": folder, "lm_model": "openai/m", "lm_base_url": provider.base_url, "lm_api_key": "k", **overrides},
        environ={},
    )
    shared = cache.open_cache(settings)
    await shared.start()
    cache.install(shared)
    stack = await open_stack(settings, owner=OwnerLoop.of_running_loop(), flight=shared.flight)
    predict = dspy.Predict("question -> answer")

    async def ask(
        question: str, *, call: str = "acall", config: dict[str, Any] | None = None, **context: Any
    ) -> tuple[str, dict[str, int]]:
        with request.opened(request.RequestContext(**context)) as opened:
            with dspy.context(lm=stack.lm, adapter=SlipwayAdapter()):
                if call == "acall":
                    answer = await predict.acall(question=question, config=config or {})
                else:
                    answer = await asyncio.to_thread(predict, question=question, config=config or {})
            return answer.answer, dict(opened.account.cache_tiers)

    yield ask
    await stack.aclose()
    await shared.aclose()


async def test_identical_requests_are_one_call(tmp_path: Path, provider: Provider) -> None:
    async with asking(tmp_path, provider) as ask:
        found = Counter(str(one) for one in await asyncio.gather(*[ask("capital?") for _ in range(50)]))
        assert found == {"('Paris', {'miss': 1})": 1, "('Paris', {'joined': 1})": 49}
        assert await ask("capital?") == ("Paris", {"memory": 1})
    async with asking(tmp_path, provider) as another_pod:
        assert await another_pod("capital?") == ("Paris", {"disk": 1})
        assert await another_pod("capital?", use_cache=False) == ("Paris", {"bypass": 1})
    assert provider.ledger.count() == 2


async def test_synchronous_calls_share_and_join(tmp_path: Path, provider: Provider) -> None:
    async with asking(tmp_path, provider) as ask:
        calls = [ask("capital?", call="__call__") for _ in range(3)] + [ask("capital?") for _ in range(3)]
        found = Counter(str(one) for one in await asyncio.gather(*calls))
        assert found == {"('Paris', {'miss': 1})": 1, "('Paris', {'joined': 1})": 5}
        assert await ask("capital?", call="__call__") == ("Paris", {"memory": 1})
    assert provider.ledger.count() == 1


async def test_rollouts_and_samples_are_calls_of_their_own(tmp_path: Path, provider: Provider) -> None:
    async with asking(tmp_path, provider) as ask:
        variants = [{"rollout_id": 1, "temperature": 0.5}, {"rollout_id": 2, "temperature": 0.5}, {"n": 3}, {}]
        await asyncio.gather(*[ask("capital?", config=variant) for variant in variants for _ in range(4)])
    assert provider.ledger.count() == 1 + 1 + 3 + 1


async def test_an_unparseable_answer_reaches_no_other_pod(tmp_path: Path, provider: Provider) -> None:
    provider.configure(answer="text", text="")
    async with asking(tmp_path, provider) as ask:
        with pytest.raises(Exception, match="parse"):
            await ask("capital?")
    provider.configure(text="[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]")
    async with asking(tmp_path, provider) as another_pod:
        assert await another_pod("capital?") == ("Paris", {"miss": 1})


async def test_another_endpoint_or_namespace_shares_nothing(tmp_path: Path, provider: Provider) -> None:
    async with asking(tmp_path, provider) as ask:
        await ask("capital?")
    async with asking(tmp_path, provider, cache_namespace="staging") as ask:
        assert (await ask("capital?"))[1] == {"miss": 1}
    other_address = provider.base_url.replace("127.0.0.1", "localhost")
    async with asking(tmp_path, provider, lm_base_url=other_address) as ask:
        assert (await ask("capital?"))[1] == {"miss": 1}


async def test_a_failing_call_fails_only_its_own_request(tmp_path: Path, provider: Provider) -> None:
    async with asking(tmp_path, provider, lm_max_attempts=1) as ask:
        provider.configure(fault="invalid")
        first = asyncio.create_task(ask("capital?"))
        await asyncio.sleep(0.1)
        provider.configure(fault="none")
        others = [asyncio.create_task(ask("capital?")) for _ in range(5)]
        found = await asyncio.gather(first, *others, return_exceptions=True)
    assert isinstance(found[0], Exception)
    assert [one[0] for one in found[1:] if isinstance(one, tuple)] == ["Paris"] * 5
