# SPDX-License-Identifier: Apache-2.0
"""The pacers one by one: bounds, jumps of the clock, what headers and 429s teach."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from aiolimiter import AsyncLimiter
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.config import load_settings
from slipway_server.lm.gate import Gate
from slipway_server.lm.pacing.auto import AutoPacer
from slipway_server.lm.pacing.carry import CARRIED_SECONDS, Carry
from slipway_server.lm.pacing.clock import SteadyClock
from slipway_server.lm.pacing.fixed import FixedPacer
from slipway_server.lm.pacing.headers import levels_of
from slipway_server.lm.pacing.priced import JOINING_SECONDS, PricedConfig, PricedPacer
from slipway_server.lm.pacing.share import SharePacer
from slipway_server.lm.pacing.types import Level, Need, Unpaced
from slipway_server.lm.stack import make_pacer
from slipway_server.request import TrafficClass

Virtual = Callable[[Callable[[], Any]], Any]
URGENT, BATCH = TrafficClass.INTERACTIVE, TrafficClass.BATCH


class HandClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


async def sent_times(pacer: Any, needs: list[Need], slots: int = 1000) -> list[float]:
    """When each need leaves a gate where all of them wait from the beginning."""
    loop = asyncio.get_running_loop()
    gate = Gate(pacer, slots, now=loop.time, call_at=loop.call_at)
    times: list[float] = []
    done = asyncio.Event()

    def go(_: Any) -> None:
        times.append(loop.time())
        if len(times) == len(needs):
            done.set()

    for need in needs:
        gate.enqueue(need, URGENT, go)
    await done.wait()
    return times


@settings(max_examples=40, deadline=None)
@given(
    limit=st.floats(6.0, 6000.0),
    burst_seconds=st.floats(1.0, 60.0),
    count=st.integers(1, 150),
)
def test_fixed_never_exceeds_the_leaky_bucket(virtual: Virtual, limit: float, burst_seconds: float, count: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pacer = FixedPacer({"requests": limit}, burst_seconds, now=loop.time)
        times = await sent_times(pacer, [Need()] * count)
        burst = limit / 60.0 * max(burst_seconds, 60.0 / limit)
        for first, last in itertools.combinations(range(0, count, 7), 2):
            sent = last - first + 1
            assert sent <= burst + (times[last] - times[first]) * limit / 60.0 + 1e-6

    virtual(main)


def test_fixed_is_as_fast_as_aiolimiter_itself(virtual: Virtual) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        start, reference = loop.time(), AsyncLimiter(10, 5)
        theirs = []
        for _ in range(40):
            await reference.acquire()
            theirs.append(loop.time() - start)
        start = loop.time()
        ours = await sent_times(FixedPacer({"requests": 120}, 5, now=loop.time), [Need()] * 40)
        assert [moment - start for moment in ours] == pytest.approx(theirs, abs=1e-3)

    virtual(main)


def test_fixed_bounds_tokens_and_never_starves_a_large_request(virtual: Virtual) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pacer = FixedPacer({"tokens": 6000}, 10, now=loop.time)
        small, large = Need(1, 50, 25, 25), Need(1, 5000, 2500, 2500)
        start = loop.time()
        times = await sent_times(pacer, [small] * 10 + [large] + [small] * 40)
        assert times == sorted(times), "first in, first out"
        assert times[10] - start < 12, "the large one waits for a full bucket at most"
        assert times[-1] - start > (10 * 50 + 1000 + 40 * 50) / 100 - 20

    virtual(main)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.floats(1.0, 20_000.0), min_size=1, max_size=40), seed=st.integers(0, 9))
@pytest.mark.parametrize("kind", ["fixed", "share", "priced"])
def test_every_request_however_large_waits_boundedly(
    virtual: Virtual, kind: str, sizes: list[float], seed: int
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        limits = {"requests": 600.0, "tokens": 60_000.0}
        pacer = {
            "fixed": lambda: FixedPacer(limits, 6, now=loop.time),
            "share": lambda: SharePacer(limits, now=loop.time, rng=random.Random(seed)),
            "priced": lambda: PricedPacer(PricedConfig(6.0), limits, now=loop.time, rng=random.Random(seed)),
        }[kind]()
        needs = [Need(1, size, size / 2, size / 2) for size in sizes]
        start = loop.time()
        times = await sent_times(pacer, needs)
        assert times == sorted(times)
        worst = max(len(sizes) / 10, sum(sizes) / 1000)
        assert times[-1] - start <= 1.1 * worst + 25

    virtual(main)


@settings(max_examples=60, deadline=None)
@given(jumps=st.lists(st.floats(-1e5, 1e4), min_size=1, max_size=20))
@pytest.mark.parametrize("kind", ["share", "priced"])
def test_a_clock_that_jumps_never_makes_a_wait_endless(kind: str, jumps: list[float]) -> None:
    clock = HandClock()
    pacer: Any = (
        SharePacer({"requests": 60.0}, now=clock, rng=random.Random(1))
        if kind == "share"
        else PricedPacer(PricedConfig(), {"requests": 60.0}, now=clock, rng=random.Random(1))
    )
    for jump in jumps:
        sent = clock.seconds
        pacer.book(URGENT, Need())
        clock.seconds += jump
        pacer.succeeded(URGENT, Need(), sent, {"requests": Level(30.0, 60.0, 30.0)}, None)
        pacer.throttled(URGENT, Need(), clock.seconds, {}, 2.0)
        assert pacer.ready_at(URGENT, Need()) - clock.seconds <= 70.0
        assert pacer.drain_seconds(URGENT, Need()) > 0


def test_a_steady_clock_never_goes_back() -> None:
    clock = HandClock()
    steady = SteadyClock(clock)
    before = steady.time()
    clock.seconds -= 3600
    assert steady.time() == before
    clock.seconds += 5
    assert steady.time() == before + 5
    assert steady.outside(steady.time()) == clock.seconds


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 500), st.floats(-400, 400)), max_size=50))
def test_carry_is_bounded_and_loses_nothing_within_the_bound(steps: list[tuple[float, float]]) -> None:
    carry, booked, used = Carry(rate_per_second=1e6), 0.0, 0.0
    for predicted, excess in steps:
        booked += carry.take(predicted)
        carry.settle(max(excess, -predicted))
        used += predicted + max(excess, -predicted)
    assert booked + carry.due(1e9) - 1e9 == pytest.approx(used, abs=1e-3)
    small = Carry(rate_per_second=1.0)
    small.settle(1e9)
    assert small.due(0.0) == CARRIED_SECONDS


def priced(clock: HandClock, **limits: float) -> PricedPacer:
    return PricedPacer(PricedConfig(), limits or {"requests": 600.0}, now=clock, rng=random.Random(1))


def test_priced_goes_faster_from_a_full_bucket_than_from_an_empty_one() -> None:
    rates = []
    for remaining in (590.0, 240.0, 60.0, 1.0):
        clock = HandClock()
        pacer = priced(clock)
        for _ in range(2):
            pacer.book(URGENT, Need())
            clock.seconds += JOINING_SECONDS
            level = Level(remaining, 600.0, (600 - remaining) / 10)
            pacer.succeeded(URGENT, Need(), clock.seconds - 1, {"requests": level}, None)
        rates.append({cls: 1 / pacer.drain_seconds(cls, Need()) for cls in (URGENT, BATCH)})
    assert rates[0][URGENT] > 10 > rates[3][URGENT] > 0
    assert rates[0][BATCH] > rates[1][BATCH] > rates[2][BATCH]
    assert rates[2][URGENT] > 10 * rates[2][BATCH], "at a tenth of the bucket only interactive calls go on"


def test_a_pod_that_joins_begins_slowly_and_no_large_request_pays_for_it() -> None:
    clock = HandClock()
    pacer = priced(clock, requests=600.0, tokens=60_000.0)
    pacer.set_pods(2)
    assert pacer.drain_seconds(URGENT, Need()) == pytest.approx(0.2), "at its share until it sees the level"
    levels = {"requests": Level(90.0, 600.0, 51.0), "tokens": Level(9000.0, 60_000.0, 51.0)}
    paces = []
    for _ in range(4):
        clock.seconds += JOINING_SECONDS / 3
        pacer.succeeded(URGENT, Need(), clock.seconds, levels, None)
        paces.append(1 / pacer.drain_seconds(URGENT, Need()))
        large = pacer.drain_seconds(URGENT, Need(1, 50_000, 25_000, 25_000))
        assert large < 50_000 / (1000 / 2) + JOINING_SECONDS, "no longer than at the share, and the joining"
    assert paces[0] < 0.2 * paces[3]
    assert paces == sorted(paces)
    assert pacer.facts().requests_per_second[URGENT] == pytest.approx(paces[3])


def test_a_pod_on_its_own_joins_nobody() -> None:
    clock = HandClock()
    pacer = priced(clock, requests=60.0)
    pacer.book(URGENT, Need())
    clock.seconds += 0.1
    pacer.succeeded(URGENT, Need(), clock.seconds - 0.1, {"requests": Level(0.0, 60.0, 1.0)}, None)
    assert pacer.ready_at(URGENT, Need()) - clock.seconds < 5


def test_priced_pauses_the_class_that_got_a_429() -> None:
    clock = HandClock()
    pacer = priced(clock)
    pacer.book(BATCH, Need())
    clock.seconds += 0.1
    pacer.throttled(BATCH, Need(), clock.seconds - 0.1, {}, 7.0)
    assert 7.0 <= pacer.ready_at(BATCH, Need()) - clock.seconds <= 7.5
    assert pacer.ready_at(URGENT, Need()) <= clock.seconds


def test_priced_learns_limits_and_the_size_of_the_bucket_from_headers() -> None:
    clock = HandClock()
    pacer = PricedPacer(PricedConfig(burst_seconds=60.0), {}, now=clock)
    assert pacer.facts().requests_per_second == {}
    levels = {"requests": Level(50.0, 600.0, 1.0), "tokens": Level(5000.0, 60_000.0, 1.0)}
    pacer.succeeded(URGENT, Need(1, 100, 50, 50), clock.seconds - 1, levels, Need(1, 120, 60, 60))
    assert pacer.facts().remaining_ratio == pytest.approx({"requests": 50 / 60, "tokens": 5000 / 6000})


def test_a_surprising_429_shrinks_the_bucket_and_a_higher_level_restores_it() -> None:
    clock = HandClock()
    pacer = priced(clock)
    pacer.succeeded(URGENT, Need(), clock.seconds, {"requests": Level(400.0, 600.0)}, None)
    clock.seconds += 1
    pacer.throttled(URGENT, Need(), clock.seconds, {}, None)
    clock.seconds += 1
    pacer.succeeded(URGENT, Need(), clock.seconds, {"requests": Level(300.0, 600.0)}, None)
    assert pacer.facts().remaining_ratio["requests"] == pytest.approx(1.0)
    clock.seconds += 1
    pacer.succeeded(URGENT, Need(), clock.seconds, {"requests": Level(550.0, 600.0)}, None)
    clock.seconds += 1
    pacer.succeeded(URGENT, Need(), clock.seconds, {"requests": Level(275.0, 600.0)}, None)
    assert pacer.facts().remaining_ratio["requests"] == pytest.approx(0.5)


def test_the_dimension_that_is_short_decides() -> None:
    clock = HandClock()
    pacer = priced(clock, requests=6000.0, tokens=6000.0)
    need = Need(1, 1000, 500, 500)
    pacer.book(URGENT, need)
    assert pacer.ready_at(URGENT, need) - clock.seconds == pytest.approx(10.0, rel=0.5)


def test_share_divides_by_the_pods_and_trims_after_429s() -> None:
    clock = HandClock()
    pacer = SharePacer({"requests": 600.0}, now=clock, pods=4, rng=random.Random(1))
    rate = pacer.facts().requests_per_second[URGENT]
    assert rate == 2.5
    pacer.throttled(URGENT, Need(), clock.seconds, {}, 3.0)
    assert pacer.facts().requests_per_second[URGENT] == pytest.approx(2.5 * 0.85)
    assert 3.0 <= pacer.ready_at(URGENT, Need()) - clock.seconds <= 3.5
    pacer.throttled(URGENT, Need(), clock.seconds - 1, {}, None)
    assert pacer.facts().requests_per_second[URGENT] == pytest.approx(2.5 * 0.85), "once per round trip"
    for _ in range(500):
        clock.seconds += 1
        pacer.succeeded(URGENT, Need(), clock.seconds, {}, None)
    assert pacer.facts().requests_per_second[URGENT] == 2.5
    pacer.set_pods(10)
    assert pacer.facts().requests_per_second[URGENT] == 1.0


def test_auto_chooses_by_what_it_sees() -> None:
    clock = HandClock()

    def auto() -> AutoPacer:
        return AutoPacer(
            Unpaced(), lambda pods: priced(clock), lambda pods: SharePacer({"requests": 60.0}, now=clock, pods=pods)
        )

    seeing, blind, rejected = auto(), auto(), auto()
    blind.set_pods(3)
    seeing.succeeded(URGENT, Need(), clock.seconds, {"requests": Level(9.0, 60.0)}, None)
    assert (seeing.kind, seeing.lanes) == ("priced", True)
    for _ in range(3):
        blind.succeeded(URGENT, Need(), clock.seconds, {}, None)
    assert (blind.kind, blind.facts().requests_per_second[URGENT]) == ("share", pytest.approx(1 / 3))
    blind.succeeded(URGENT, Need(), clock.seconds, {"requests": Level(9.0, 60.0)}, None)
    assert blind.kind == "priced"
    for _ in range(9):
        rejected.throttled(URGENT, Need(), clock.seconds, {}, None)
    assert rejected.kind == "off"


async def test_a_pod_that_was_alone_shares_the_limit_once_there_are_more() -> None:
    pacer = make_pacer(load_settings({"lm_model": "openai/m", "lm_rpm": 60}, environ={}), pods=1)
    pacer.set_pods(1)
    for _ in range(3):
        pacer.succeeded(URGENT, Need(), 0.0, {}, None)
    assert (pacer.kind, pacer.facts().requests_per_second[URGENT]) == ("fixed", 1.0)
    pacer.set_pods(4)
    assert (pacer.kind, pacer.facts().requests_per_second[URGENT]) == ("share", 0.25)
    pacer.set_pods(2)
    assert (pacer.kind, pacer.facts().requests_per_second[URGENT]) == ("share", 0.5)


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("12ms", 0.012),
        ("1h2m3.5s", 3723.5),
        ("7.66", 7.66),
        ("1700000010", 10),
        ("2023-11-14T22:13:40Z", 20),
        ("soon", None),
        ("", None),
        ("-3", None),
    ],
)
def test_resets_in_every_form(reset: str, seconds: float | None) -> None:
    headers = [("X-RateLimit-Remaining-Requests", "5"), ("x-ratelimit-reset-requests", reset)]
    level = levels_of(headers, wall_seconds=1_700_000_000.0)["requests"]
    assert level.reset_seconds == (None if seconds is None else pytest.approx(seconds))


def test_headers_of_both_styles() -> None:
    both = levels_of(
        [
            ("x-ratelimit-limit-tokens", "160000"),
            ("x-ratelimit-remaining-tokens", "159976"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "7000"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-11-21T12:00:10Z"),
            ("date", "Sat, 21 Nov 2026 12:00:00 GMT"),
            ("x-ratelimit-limit-requests", "5000"),
        ],
        wall_seconds=0.0,
    )
    assert both == {"tokens": Level(159976.0, 160000.0), "output_tokens": Level(7000.0, 8000.0, 10.0)}


@pytest.mark.parametrize("limit", ["0", "-1", "0.5", "1e-320", "none"])
def test_a_limit_below_one_a_minute_is_none(limit: str) -> None:
    headers = [("x-ratelimit-remaining-requests", "5"), ("x-ratelimit-limit-requests", limit)]
    assert levels_of(headers, wall_seconds=0.0) == {"requests": Level(5.0)}


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), max_size=8), st.text(max_size=30))
def test_no_header_can_break_the_reader(headers: list[tuple[str, str]], value: str) -> None:
    names = ("limit", "remaining", "reset")
    levels_of([*headers, *((f"x-ratelimit-{name}-requests", value) for name in names)], wall_seconds=1e9)


@pytest.mark.parametrize(
    "date", ["soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2020 00:00:00 +99999999999999"]
)
def test_a_date_that_is_none_costs_only_the_reset(date: str) -> None:
    left = ("anthropic-ratelimit-requests-remaining", "5")
    headers = [left, ("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:10Z"), ("date", date)]
    assert levels_of(headers, wall_seconds=0.0) == {"requests": Level(5.0)}
