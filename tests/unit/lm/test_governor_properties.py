# SPDX-License-Identifier: Apache-2.0
"""What holds of the governor whatever fails and whenever callers leave, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dspy import lm15
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.lm.errors import translate
from slipway_server.lm.retries import RetryConfig
from slipway_server.request import TrafficClass

Virtual = Callable[[Callable[[], Any]], Any]


def rate_limit(retry_after: float | None = None) -> lm15.RateLimitError:
    return lm15.RateLimitError("slow down", status=429, retry_after=retry_after)


FAILURES = st.one_of(
    st.none(),
    st.floats(0, 1e10).map(rate_limit),
    st.just(rate_limit()),
    st.builds(lambda: lm15.ServerError("down", status=503)),
    st.builds(lambda: lm15.TransportError("reset")),
    st.builds(lambda: lm15.TimeoutError("slow")),
    st.builds(lambda: lm15.InvalidRequestError("no", status=400)),
)


@settings(max_examples=60, deadline=None)
@given(
    failures=st.lists(FAILURES, max_size=30),
    calls=st.integers(1, 12),
    deadline=st.one_of(st.none(), st.floats(0.0, 60.0)),
    max_attempts=st.integers(1, 6),
    limit=st.integers(1, 4),
)
def test_attempts_are_bounded_and_none_leaves_after_the_deadline(
    virtual: Virtual,
    bench: Any,
    scripted: Any,
    failures: list[Any],
    calls: int,
    deadline: float | None,
    max_attempts: int,
    limit: int,
) -> None:
    async def main() -> None:
        it = bench(scripted(list(failures)), max_concurrency=limit, retries=RetryConfig(max_attempts=max_attempts))
        ends = it.loop.time() + deadline if deadline is not None else float("inf")
        answers = await asyncio.gather(*(it.ask(deadline=deadline) for _ in range(calls)), return_exceptions=True)
        for answer in answers:
            assert isinstance(answer, lm15.Response | lm15.LM15Error)
            assert isinstance(answer, lm15.Response) or translate(answer) is not None
        successes = sum(isinstance(answer, lm15.Response) for answer in answers)
        assert len(it.backend.sent_at) <= calls + 10 + 0.1 * successes
        assert all(context.account.attempts <= max_attempts for context in it.contexts)
        assert all(sent <= ends for sent in it.backend.sent_at)
        assert it.loop.time() <= ends + 1e-6
        assert it.backend.peak <= limit
        assert it.governor.gate.in_flight == it.backend.active == 0

    virtual(main)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.floats(0.0, 6.0), min_size=1, max_size=10), limit=st.integers(1, 3))
def test_cancelling_at_any_moment_frees_slot_and_queue(
    virtual: Virtual, bench: Any, scripted: Any, cuts: list[float], limit: int
) -> None:
    async def main() -> None:
        it = bench(scripted([rate_limit(1.0), None] * 3), max_concurrency=limit)
        tasks = [asyncio.create_task(it.ask()) for _ in cuts]
        for task, cut in zip(tasks, cuts, strict=True):
            it.loop.call_later(cut, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (it.governor.gate.in_flight, it.backend.active) == (0, 0)
        assert all(not it.governor.gate.waiting(cls) for cls in TrafficClass)
        it.backend.errors.clear()
        await it.ask(deadline=3)

    virtual(main)
