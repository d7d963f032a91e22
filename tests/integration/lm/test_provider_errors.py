# SPDX-License-Identifier: Apache-2.0
"""Each way in which a provider fails, over real HTTP and through DSPy: the right code, and the right attempts."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import dspy
import pytest

from slipway_server import request
from slipway_server.errors import NEVER_RETRY, Code, SlipwayError
from slipway_server.lm.stack import LMStack
from slipway_server.request import RequestContext
from slipway_server.simulate import Provider

Open = Callable[..., Awaitable[LMStack]]
Ask = Callable[[LMStack], Awaitable[str]]
Seen = Callable[[int], Awaitable[int]]


@pytest.mark.parametrize(
    ("fault", "code", "reason", "attempts"),
    [
        ("billing", Code.FAILED_PRECONDITION, "PROVIDER_BILLING", 1),
        ("auth", Code.FAILED_PRECONDITION, "PROVIDER_AUTH", 1),
        ("model", Code.FAILED_PRECONDITION, "PROVIDER_MODEL_UNKNOWN", 1),
        ("invalid", Code.FAILED_PRECONDITION, "PROVIDER_REJECTED", 1),
        ("context-length", Code.INVALID_ARGUMENT, "CONTEXT_TOO_LONG", 1),
        ("timeout", Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE", 2),
        ("server-error", Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE", 2),
        ("unavailable", Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE", 2),
        ("overloaded", Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE", 2),
        ("html", Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE", 2),
        ("reset", Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE", 2),
        ("hang", Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE", 2),
        ("cut", Code.UNAVAILABLE, "PROVIDER_UNAVAILABLE", 2),
    ],
)
async def test_fault(
    provider: Provider,
    open_lm: Open,
    ask: Ask,
    requests_seen: Seen,
    fault: str,
    code: Code,
    reason: str,
    attempts: int,
) -> None:
    stack = await open_lm(lm_attempt_timeout_seconds=0.2)
    provider.configure(fault=fault)
    context = RequestContext()
    with request.opened(context), pytest.raises(SlipwayError) as caught:
        await ask(stack)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert caught.value.pushback_ms == NEVER_RETRY
    assert context.account.attempts == await requests_seen(attempts) == attempts
    assert stack.governor.gate.in_flight == 0


@pytest.mark.parametrize("form", ["decimal", "ms", "date", "right", "missing"])
async def test_a_429_is_waited_for_and_repeated_once(provider: Provider, open_lm: Open, ask: Ask, form: str) -> None:
    stack = await open_lm()
    provider.configure(rpm=60, burst_seconds=1, retry_after=form)
    context = RequestContext()
    with request.opened(context):
        assert await ask(stack) == "Paris"
        assert await ask(stack) == "Paris"
    assert context.account.lm_calls == 2
    assert context.account.attempts == len(provider.ledger.entries)
    assert provider.ledger.count(status=429) <= 2


@pytest.mark.parametrize("form", ["absurd", "late"])
async def test_a_retry_after_beyond_the_cap_fails_at_once(
    provider: Provider, open_lm: Open, ask: Ask, form: str
) -> None:
    stack = await open_lm(lm_retry_after_cap_seconds=5)
    provider.configure(fault="rate-limit", retry_after=form)
    started = time.monotonic()
    with pytest.raises(SlipwayError) as caught:
        await ask(stack)
    assert time.monotonic() - started < 5  # obeying it would take 30 s at least
    assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "PROVIDER_RATE_LIMITED")
    assert caught.value.retry_after_seconds is not None
    assert 30 <= caught.value.retry_after_seconds <= 3600
    assert caught.value.pushback_ms == round(caught.value.retry_after_seconds * 1000)
    assert len(provider.ledger.entries) == 1


async def test_a_retry_after_beyond_the_deadline_fails_at_once(provider: Provider, open_lm: Open, ask: Ask) -> None:
    stack = await open_lm()
    provider.configure(fault="rate-limit", retry_after_seconds=8.0)
    started = time.monotonic()
    with (
        request.opened(RequestContext(deadline=time.monotonic() + 7)),
        pytest.raises(SlipwayError) as caught,
    ):
        await ask(stack)
    assert time.monotonic() - started < 6
    assert caught.value.reason == "PROVIDER_RATE_LIMITED"
    assert caught.value.retry_after_seconds == pytest.approx(8, abs=0.5)
    assert len(provider.ledger.entries) == 1


async def test_429_without_end_uses_up_the_attempts(provider: Provider, open_lm: Open, ask: Ask) -> None:
    stack = await open_lm()
    provider.configure(fault="rate-limit", retry_after="missing")
    with pytest.raises(SlipwayError) as caught:
        await ask(stack)
    assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "PROVIDER_RATE_LIMITED")
    assert caught.value.retry_after_seconds is not None
    assert len(provider.ledger.entries) == 2


async def test_a_hang_ends_with_the_deadline(provider: Provider, open_lm: Open, ask: Ask) -> None:
    stack = await open_lm()
    provider.configure(fault="hang")
    started = time.monotonic()
    with request.opened(RequestContext(deadline=started + 0.3)), pytest.raises(SlipwayError) as caught:
        await ask(stack)
    assert 0.25 < time.monotonic() - started < 5  # an attempt may take 120 s
    assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert stack.governor.gate.in_flight == 0


async def test_nothing_listens(open_lm: Open, ask: Ask) -> None:
    stack = await open_lm(lm_base_url="http://127.0.0.1:9/v1")
    with pytest.raises(SlipwayError) as caught:
        await ask(stack)
    assert (caught.value.reason, caught.value.pushback_ms) == ("PROVIDER_UNAVAILABLE", NEVER_RETRY)


async def test_the_circuit_opens(provider: Provider, open_lm: Open, ask: Ask) -> None:
    stack = await open_lm(lm_max_attempts=1)
    provider.configure(fault="unavailable")
    for _ in range(10):
        with pytest.raises(SlipwayError, match="failed 1 attempt"):
            await ask(stack)
    with pytest.raises(SlipwayError) as caught:
        await ask(stack)
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "PROVIDER_CIRCUIT_OPEN")
    assert 0 < (caught.value.retry_after_seconds or 0) <= 6
    assert len(provider.ledger.entries) == 10


@pytest.mark.parametrize("fault", ["cut", "error-event"])
async def test_a_stream_that_breaks_is_not_repeated(provider: Provider, open_lm: Open, fault: str) -> None:
    stack = await open_lm()
    provider.configure(fault=fault, cut_after_chunks=3, text="[[ ## answer ## ]]\none two three four five")
    lm_request = dspy.lm15.Request(model=stack.lm.model, messages=(dspy.lm15.Message.user("Count."),))
    events: list[Any] = []

    async def read() -> None:
        async for event in stack.governor.stream(lm_request):
            events.append(event)

    with pytest.raises(dspy.lm15.LM15Error):
        await read()
    assert len(events) >= 2
    assert len(provider.ledger.entries) == 1
    assert stack.governor.gate.in_flight == 0
