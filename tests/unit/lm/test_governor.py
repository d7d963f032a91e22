# SPDX-License-Identifier: Apache-2.0
"""The governor in virtual time: attempts, deadlines, cancelling, classes, streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from dspy import lm15
from governed import down, rate_limit, refused

from slipway_server import request
from slipway_server.errors import (
    DeadlineTooShort,
    ProviderRateLimited,
    ProviderUnavailable,
    QueueWaitTooLong,
)
from slipway_server.lm.pacing.share import SharePacer
from slipway_server.lm.retries import RetryConfig
from slipway_server.request import RequestContext, TrafficClass

Virtual = Callable[[Callable[[], Any]], Any]


def test_one_attempt_where_all_is_well(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted())
        await it.ask(deadline=5)
        account = it.contexts[0].account
        assert (account.lm_calls, account.attempts, dict(account.waits_seconds)) == (1, 1, {})
        assert (account.prompt_tokens, account.completion_tokens, account.cost_usd) == (10, 5, None)

    virtual(main)


def test_retry_after_is_waited_for_with_jitter(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted([rate_limit(4.0)]))
        await it.ask()
        first, second = it.backend.sent_at
        assert 5.0 <= second - first <= 5.5
        assert it.contexts[0].account.waits_seconds["retry"] == pytest.approx(second - first - 1.0)

    virtual(main)


def test_backoff_without_advice_is_random_and_bounded(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted([down(), down(), down(), down()], seconds=0.0))
        await it.ask()
        gaps = [b - a for a, b in zip(it.backend.sent_at, it.backend.sent_at[1:], strict=False)]
        assert all(0 <= gap <= 0.5 * 2**n for n, gap in enumerate(gaps))
        assert len(set(gaps)) == len(gaps) == 4

    virtual(main)


@pytest.mark.parametrize(
    "error",
    [
        lm15.AuthError("no"),
        lm15.BillingError("no"),
        lm15.InvalidRequestError("no"),
        lm15.ContextLengthError("no"),
        lm15.UnsupportedModelError("no"),
        lm15.RateLimitError("no", provider_code="enforced_spend_limit_reached"),
        lm15.NotConfiguredError("no"),
        ValueError("an engine's bug"),
    ],
)
def test_what_stays_wrong_is_not_repeated(virtual: Virtual, bench: Any, scripted: Any, error: Exception) -> None:
    async def main() -> None:
        it = bench(scripted([error]))
        with pytest.raises(type(error)):
            await it.ask()
        assert len(it.backend.sent_at) == 1
        assert it.governor.gate.in_flight == 0

    virtual(main)


def test_the_slot_is_free_while_a_call_waits_to_repeat(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted([rate_limit(20.0)]), max_concurrency=1)
        waiting = asyncio.create_task(it.ask())
        await asyncio.sleep(1.5)
        await it.ask(deadline=2)
        assert not waiting.done()
        await waiting
        assert it.backend.peak == 1

    virtual(main)


def test_a_provider_that_is_down_costs_the_attempts_and_no_more(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted([down()] * 9), retries=RetryConfig(max_attempts=3))
        error = await refused(it.ask())
        assert isinstance(error, ProviderUnavailable)
        assert error.pushback_ms == -1
        assert len(it.backend.sent_at) == 3

    virtual(main)


def test_a_predicted_wait_beyond_the_cap_is_refused_at_once(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pacer = SharePacer({"requests": 60.0}, now=loop.time)
        it = bench(scripted(), pacer, queue_cap_seconds=5.0)
        started = loop.time()
        calls = [asyncio.create_task(it.ask()) for _ in range(8)]
        await asyncio.sleep(0)
        error = await refused(it.ask())
        assert loop.time() == started
        assert isinstance(error, QueueWaitTooLong)
        assert error.metadata["subject"]
        assert 5.0 < (error.retry_after_seconds or 0) < 11.0
        batch = asyncio.create_task(it.ask(cls=TrafficClass.BATCH))
        done = await asyncio.gather(*calls, batch, return_exceptions=True)
        assert sum(isinstance(answer, lm15.Response) for answer in done) == 7, "six interactive ones fit, and the batch"
        account = it.contexts[3].account
        assert account.waits_seconds["queue"] + account.waits_seconds["pacing"] == pytest.approx(3.0, abs=0.1)

    virtual(main)


def test_a_deadline_that_cannot_hold_the_wait_is_refused_at_once(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        it = bench(scripted(), SharePacer({"requests": 60.0}, now=loop.time))
        calls = [asyncio.create_task(it.ask(cls=TrafficClass.BATCH)) for _ in range(5)]
        await asyncio.sleep(0)
        error = await refused(it.ask(cls=TrafficClass.BATCH, deadline=2.0))
        assert isinstance(error, QueueWaitTooLong)
        assert isinstance(await refused(it.ask(deadline=0.0)), DeadlineTooShort)
        await asyncio.gather(*calls)

    virtual(main)


def test_a_deadline_that_passes_in_the_queue_is_called_so(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted(seconds=10.0), max_concurrency=1)
        first = asyncio.create_task(it.ask())
        await asyncio.sleep(0)
        started = it.loop.time()
        assert isinstance(await refused(it.ask(deadline=2.0)), DeadlineTooShort)
        assert it.loop.time() - started == pytest.approx(2.0)
        assert (await first).text
        assert len(it.backend.sent_at) == 1

    virtual(main)


def test_a_wait_must_leave_time_for_the_answer(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        it = bench(scripted(seconds=3.0), SharePacer({"requests": 60.0}, now=loop.time))
        for _ in range(3):
            await it.ask()
        calls = [asyncio.create_task(it.ask()) for _ in range(3)]
        await asyncio.sleep(0)
        assert isinstance(await refused(it.ask(deadline=5.5)), QueueWaitTooLong), "3 s of waiting and 3 s of answering"
        await it.ask(deadline=6.5)
        await asyncio.gather(*calls)
        await asyncio.sleep(2.0)
        sent = len(it.backend.sent_at)
        assert isinstance(await refused(it.ask(deadline=1.0)), DeadlineTooShort)
        assert len(it.backend.sent_at) == sent + 1, "without a wait it may try"

    virtual(main)


def test_a_spent_budget_ends_the_repeating_until_successes_earn_more(
    virtual: Virtual, bench: Any, scripted: Any
) -> None:
    async def main() -> None:
        it = bench(scripted([rate_limit(1.0)] * 14, seconds=0.0), retries=RetryConfig(max_attempts=100))
        error = await refused(it.ask())
        assert isinstance(error, ProviderRateLimited)
        assert "budget" in error.message
        assert len(it.backend.sent_at) == 11, "one and the budget of ten"
        it.backend.errors.clear()
        for _ in range(11):
            await it.ask()
        it.backend.errors[:] = [rate_limit(1.0)] * 2
        assert isinstance(await refused(it.ask()), ProviderRateLimited)
        assert len(it.backend.sent_at) == 11 + 11 + 2, "a tenth of a retry for each success"

    virtual(main)


@pytest.mark.parametrize("advice", [0.0, 1.0, 29.9])
def test_callers_with_the_same_advice_do_not_come_back_together(
    virtual: Virtual, bench: Any, scripted: Any, advice: float
) -> None:
    async def main() -> None:
        it = bench(scripted([rate_limit(advice)] * 8, seconds=0.0))
        await asyncio.gather(*(it.ask() for _ in range(8)))
        again = it.backend.sent_at[8:]
        assert len(set(again)) == 8
        assert all(advice <= moment - it.backend.sent_at[0] <= advice + 0.5 for moment in again)
        assert max(again) - min(again) > 0.1

    virtual(main)


def test_interactive_calls_go_before_batch(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        it = bench(scripted(seconds=0.0), SharePacer({"requests": 60.0}, now=loop.time))
        order: list[str] = []

        async def ask(name: str, cls: TrafficClass) -> None:
            await it.ask(cls=cls)
            order.append(name)

        names = [("e", TrafficClass.EVALUATION), ("b", TrafficClass.BATCH), ("i", TrafficClass.INTERACTIVE)]
        await asyncio.gather(*(ask(f"{name}{n}", cls) for n in range(2) for name, cls in names))
        assert order == ["e0", "i0", "i1", "b0", "b1", "e1"]

    virtual(main)


def test_batch_leaves_slots_to_interactive_calls(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted(seconds=10.0), max_concurrency=10)
        batch = [asyncio.create_task(it.ask(cls=TrafficClass.BATCH)) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert it.backend.active == 9
        urgent = asyncio.create_task(it.ask())
        await asyncio.sleep(0.1)
        assert it.backend.active == 10
        await asyncio.gather(urgent, *batch)
        assert it.backend.peak == 10

    virtual(main)


def test_a_stream_is_repeated_only_before_its_first_event(virtual: Virtual, bench: Any, scripted: Any) -> None:
    class Breaking(scripted):  # type: ignore[misc]
        async def stream(self, request: lm15.Request) -> Any:
            events = list(lm15.response_to_events(await self.complete(request)))
            yield events[0]
            raise down()

    async def main() -> None:
        it = bench(scripted([down()]))
        assert [event async for event in it.governor.stream(it.request)][-1].type == "end"
        assert len(it.backend.sent_at) == 2
        broken = bench(Breaking([down()]))
        seen = []

        async def read() -> None:
            async for event in broken.governor.stream(broken.request):
                seen.append(event)

        with pytest.raises(lm15.ServerError):
            await read()
        assert (len(seen), len(broken.backend.sent_at)) == (1, 2)
        assert broken.governor.gate.in_flight == 0

    virtual(main)


def test_a_slow_reader_of_a_stream_holds_no_slot_and_an_endless_one_is_ended(
    virtual: Virtual, bench: Any, scripted: Any
) -> None:
    class Endless(scripted):  # type: ignore[misc]
        async def stream(self, request: lm15.Request) -> Any:
            yield next(iter(lm15.response_to_events(await self.complete(request))))
            while True:
                await asyncio.sleep(1)

    async def main() -> None:
        it = bench(scripted(), max_concurrency=1)
        events = it.governor.stream(it.request)
        await anext(events)
        await it.ask(deadline=2)
        await events.aclose()
        endless = bench(Endless(), attempt_timeout_seconds=30.0)
        events = endless.governor.stream(endless.request)
        await anext(events)
        with pytest.raises(lm15.TimeoutError):
            await anext(events)
        assert endless.governor.gate.in_flight == 0

    virtual(main)


def test_cancelling_before_the_first_step_of_a_stream_gives_the_slot_back(
    virtual: Virtual, bench: Any, scripted: Any
) -> None:
    async def main() -> None:
        it = bench(scripted())

        async def read() -> None:
            async for _ in it.governor.stream(it.request):
                pass

        for yields in range(6):
            task = asyncio.create_task(read())
            for _ in range(yields):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
            assert it.governor.gate.in_flight == 0

    virtual(main)


def test_the_context_of_the_caller_decides(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted())
        outer = RequestContext(traffic_class=TrafficClass.EVALUATION)
        with request.opened(outer):
            await asyncio.gather(*(it.governor.complete(it.request) for _ in range(3)))
        assert (outer.account.lm_calls, outer.account.attempts) == (3, 3)

    virtual(main)
