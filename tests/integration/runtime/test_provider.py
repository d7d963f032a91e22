# SPDX-License-Identifier: Apache-2.0
"""What the provider does wrong reaches the caller as one error of the catalogue, and a cancelled request stops it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from slipway_server.config import Settings
from slipway_server.errors import (
    AnswerUnparseable,
    ContextTooLong,
    DeadlineTooShort,
    ProviderAuth,
    ProviderBilling,
    ProviderModelUnknown,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
    SlipwayError,
)
from slipway_server.request import RequestContext
from slipway_server.simulate import Provider

QUESTION = {"question": "In which year was Port Callow founded?"}
PLAIN, FORWARD_ONLY = "programs:Plain", "programs:ForwardOnly"


@pytest.fixture
def upstream(settings_with: Callable[..., Settings], provider: Provider) -> Callable[..., Settings]:
    def make(**overrides: Any) -> Settings:
        values = {"lm_model": "openai/test", "lm_base_url": provider.base_url, "lm_api_key": "k", "cache": "memory"}
        return settings_with(**{**values, "lm_max_attempts": 2, **overrides})

    return make


def in_seconds(seconds: float) -> RequestContext:
    return RequestContext(deadline=time.monotonic() + seconds)


@pytest.mark.parametrize("program", [PLAIN, FORWARD_ONLY])
@pytest.mark.parametrize(
    ("fault", "error", "attempts"),
    [
        ({"fault": "rate-limit", "retry_after": "absurd"}, ProviderRateLimited, 1),
        ({"fault": "billing"}, ProviderBilling, 1),
        ({"fault": "auth"}, ProviderAuth, 1),
        ({"fault": "model"}, ProviderModelUnknown, 1),
        ({"fault": "context-length"}, ContextTooLong, 1),
        ({"fault": "invalid"}, ProviderRejected, 1),
        ({"fault": "server-error"}, ProviderUnavailable, 2),
        ({"fault": "reset"}, ProviderUnavailable, 2),
        ({"answer": "text", "text": "no fields at all"}, AnswerUnparseable, 2),
    ],
    ids=lambda value: str(value.get("fault", "unparseable")) if isinstance(value, dict) else None,
)
async def test_each_fault_is_one_error(
    upstream: Any,
    serving: Any,
    provider: Provider,
    program: str,
    fault: dict[str, Any],
    error: type[SlipwayError],
    attempts: int,
) -> None:
    provider.configure(**fault)
    async with serving(upstream(program=program)) as service:
        context = in_seconds(20)
        with pytest.raises(error) as caught:
            await service.predict(QUESTION, context)
    assert "\n" not in caught.value.message
    assert len(provider.ledger.entries) == context.account.attempts == attempts


@pytest.mark.parametrize("program", [PLAIN, FORWARD_ONLY])
async def test_an_unparseable_answer_is_not_remembered(
    upstream: Any, serving: Any, provider: Provider, program: str
) -> None:
    async with serving(upstream(program=program)) as service:
        provider.configure(answer="text", text="no fields at all")
        with pytest.raises(AnswerUnparseable):
            await service.predict(QUESTION, in_seconds(20))
        provider.configure(answer="reader")
        answer = await service.predict(QUESTION, in_seconds(20))
        again = await service.predict(QUESTION, in_seconds(20))
    assert (answer.receipt.cache, again.receipt.cache) == ("miss", "memory")


@pytest.mark.parametrize("program", [PLAIN, FORWARD_ONLY])
async def test_a_cancelled_request_stops_its_upstream_request(
    upstream: Any, serving: Any, provider: Provider, program: str
) -> None:
    provider.configure(fault="hang")
    async with serving(upstream(program=program)) as service:
        running = asyncio.create_task(service.predict(QUESTION, RequestContext()))
        await _until(lambda: provider.in_flight == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await _until(lambda: provider.in_flight == 0)


@pytest.mark.parametrize("program", [PLAIN, FORWARD_ONLY])
async def test_the_deadline_bounds_a_hanging_provider(
    upstream: Any, serving: Any, provider: Provider, program: str
) -> None:
    provider.configure(fault="hang")
    async with serving(upstream(program=program)) as service:
        started = time.monotonic()
        with pytest.raises(DeadlineTooShort):
            await service.predict(QUESTION, in_seconds(0.5))
        assert time.monotonic() - started < 5  # an attempt may take 120 s
        await _until(lambda: provider.in_flight == 0)


async def test_identical_concurrent_requests_make_one_upstream_call(
    upstream: Any, serving: Any, provider: Provider
) -> None:
    provider.configure(latency_seconds=0.2)
    async with serving(upstream(program=PLAIN)) as service:
        answers = await asyncio.gather(*(service.predict(QUESTION, in_seconds(20)) for _ in range(20)))
    assert len(provider.ledger.entries) == 1
    assert sorted({answer.receipt.cache for answer in answers}) == ["joined", "miss"]
    assert sum(answer.receipt.attempts for answer in answers) == 1


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
