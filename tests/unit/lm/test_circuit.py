# SPDX-License-Identifier: Apache-2.0
"""The circuit: what opens it, what does not, and how it closes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from dspy import lm15
from governed import down, rate_limit, refused

from slipway_server.errors import DeadlineTooShort, ProviderCircuitOpen, ProviderRateLimited, ProviderUnavailable
from slipway_server.lm import exchange
from slipway_server.lm.breaker import Breaker, BreakerConfig
from slipway_server.lm.pacing.types import Need
from slipway_server.lm.retries import RetryConfig
from slipway_server.request import TrafficClass

Virtual = Callable[[Callable[[], Any]], Any]


def test_the_breaker_opens_longer_each_time(pacing: ModuleType) -> None:
    clock = pacing.Clock()
    breaker = Breaker(BreakerConfig(failures=3), now=clock.now, rng=random.Random(1))
    for caller in range(3):
        assert breaker.wait_seconds(caller) == 0.0
        breaker.failed(caller)
    assert repr(breaker).startswith("Breaker(open for ")
    pauses = []
    for _ in range(6):
        pauses.append(breaker.wait_seconds("other"))
        clock.run(clock.now() + pauses[-1])
        assert (breaker.wait_seconds("probe"), breaker.wait_seconds("probe")) == (0.0, 0.0), "a probe"
        assert breaker.wait_seconds("other") > 0.0, "one at a time"
        breaker.failed("probe")
    for pause, expected in zip(pauses, (5, 10, 20, 40, 60, 60), strict=True):
        assert 0.8 * expected <= pause <= 1.2 * expected
    clock.run(clock.now() + 100)
    assert breaker.wait_seconds("probe") == 0.0
    breaker.abandoned("probe")
    assert breaker.wait_seconds("other") == 0.0
    breaker.succeeded()
    assert not breaker.is_open
    assert (breaker.wait_seconds("one"), breaker.wait_seconds("two")) == (0.0, 0.0)
    assert repr(breaker) == "Breaker(closed, failures=0)"


def test_only_the_probe_decides_about_the_breaker(pacing: ModuleType) -> None:
    clock = pacing.Clock()
    breaker = Breaker(BreakerConfig(failures=1), now=clock.now, rng=random.Random(1))
    breaker.failed("first")
    clock.run(clock.now() + 100)
    assert breaker.wait_seconds("probe") == 0.0
    breaker.abandoned("one from before")
    breaker.failed("another from before")
    assert 0.0 < breaker.wait_seconds("other") <= 5.0, "still one at a time, and no longer pause"
    breaker.failed("probe")
    assert breaker.wait_seconds("other") > 5.0


def test_the_circuit_opens_probes_and_closes(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted([down()] * 11), retries=RetryConfig(max_attempts=1))
        for _ in range(10):
            assert isinstance(await refused(it.ask()), ProviderUnavailable)
        error = await refused(it.ask())
        assert isinstance(error, ProviderCircuitOpen)
        assert error.retry_after_seconds is not None
        assert len(it.backend.sent_at) == 10
        await asyncio.sleep(error.retry_after_seconds + 0.01)
        probes = await asyncio.gather(*(it.ask() for _ in range(5)), return_exceptions=True)
        assert len(it.backend.sent_at) == 11, "one probe at a time"
        assert all(isinstance(probe, lm15.LM15Error) for probe in probes)
        await asyncio.sleep(30)
        await it.ask()
        await asyncio.gather(*(it.ask() for _ in range(5)))

    virtual(main)


def test_calls_that_wait_while_the_circuit_opens_make_no_attempt(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(
            scripted([down()] * 100), max_concurrency=1, retries=RetryConfig(max_attempts=1), queue_cap_seconds=1e9
        )
        errors = await asyncio.gather(*(refused(it.ask()) for _ in range(30)))
        assert len(it.backend.sent_at) == 10
        assert [type(error) for error in errors] == [ProviderUnavailable] * 10 + [ProviderCircuitOpen] * 20
        assert it.governor.gate.in_flight == 0
        assert it.governor.gate.predicted_wait(TrafficClass.INTERACTIVE, Need()) == 0.0

    virtual(main)


def test_callers_whose_deadlines_pass_find_out_that_a_provider_hangs(
    virtual: Virtual, bench: Any, scripted: Any
) -> None:
    async def main() -> None:
        it = bench(scripted())
        await it.ask()
        it.backend.seconds = 1e6
        for _ in range(10):
            assert isinstance(await refused(it.ask(deadline=30)), DeadlineTooShort)
        error = await refused(it.ask(deadline=30))
        assert isinstance(error, ProviderCircuitOpen)
        assert len(it.backend.sent_at) == 11
        it.backend.seconds = 1.0
        await asyncio.sleep(error.retry_after_seconds + 0.01)
        await it.ask(deadline=30)

    virtual(main)


@pytest.mark.parametrize(
    ("answered_in", "seconds", "deadline"),
    [
        pytest.param(None, 1e6, 30, id="a model that has never answered may need more than callers give"),
        pytest.param(8, 1e6, 30, id="less than five times as long as usual"),
        pytest.param(1, 1e6, 9, id="less than ten seconds"),
    ],
)
def test_impatient_callers_do_not_open_the_circuit(
    virtual: Virtual, bench: Any, scripted: Any, answered_in: float | None, seconds: float, deadline: float
) -> None:
    async def main() -> None:
        it = bench(scripted())
        if answered_in is not None:
            it.backend.seconds = answered_in
            await it.ask()
        it.backend.seconds = seconds
        for _ in range(15):
            assert isinstance(await refused(it.ask(deadline=deadline)), DeadlineTooShort)
        assert not it.governor.breaker.is_open

    virtual(main)


def test_callers_that_go_away_in_time_say_nothing_of_the_provider(virtual: Virtual, bench: Any, scripted: Any) -> None:
    """As all do at once whose network is lost."""

    async def main() -> None:
        it = bench(scripted())
        await it.ask()
        it.backend.seconds = 1e6
        calls = [asyncio.create_task(it.ask(deadline=60)) for _ in range(15)]
        await asyncio.sleep(40)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert it.backend.cancelled == 15
        assert not it.governor.breaker.is_open

    virtual(main)


def test_a_provider_that_answers_others_meanwhile_does_not_hang(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted())
        await it.ask()
        it.backend.seconds = 1e6
        calls = [asyncio.create_task(refused(it.ask(deadline=30))) for _ in range(15)]
        await asyncio.sleep(1)
        it.backend.seconds = 1.0
        await it.ask()
        assert [type(error) for error in await asyncio.gather(*calls)] == [DeadlineTooShort] * 15
        assert not it.governor.breaker.is_open

    virtual(main)


def test_a_reply_that_has_begun_is_not_silence(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted())
        await it.ask()

        async def begin_and_hang(request: lm15.Request) -> lm15.Response:
            exchange.replied([])
            await asyncio.sleep(1e6)
            raise AssertionError

        it.backend.complete = begin_and_hang
        for _ in range(15):
            assert isinstance(await refused(it.ask(deadline=30)), DeadlineTooShort)
        assert not it.governor.breaker.is_open

    virtual(main)


def test_429s_never_open_the_circuit(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        it = bench(scripted([rate_limit()] * 50), retries=RetryConfig(max_attempts=1))
        for _ in range(50):
            assert isinstance(await refused(it.ask()), ProviderRateLimited)
        await it.ask()

    virtual(main)
