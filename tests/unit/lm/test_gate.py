# SPDX-License-Identifier: Apache-2.0
"""The gate: order, slots, withdrawing, predicted waits. Breaker, needs and peers, which are as small."""

from __future__ import annotations

import itertools
from types import ModuleType

import pytest
from dspy import lm15
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.lm.gate import Gate, Waiter
from slipway_server.lm.needs import Needs, used_of
from slipway_server.lm.pacing.priced import PricedConfig, PricedPacer
from slipway_server.lm.pacing.share import SharePacer
from slipway_server.lm.pacing.types import Need, Unpaced
from slipway_server.lm.peers import count_peers
from slipway_server.request import TrafficClass

CLASSES = st.sampled_from(list(TrafficClass))


@settings(max_examples=50, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.floats(0, 3), CLASSES, st.floats(1, 5000)), min_size=1, max_size=40),
    slots=st.integers(1, 5),
    lanes=st.booleans(),
)
def test_first_in_first_out_within_a_class_and_never_too_many(
    pacing: ModuleType, arrivals: list[tuple[float, TrafficClass, float]], slots: int, lanes: bool
) -> None:
    clock = pacing.Clock()
    limits = {"requests": 600.0, "tokens": 600_000.0}
    pacer = PricedPacer(PricedConfig(), limits, now=clock.now) if lanes else SharePacer(limits, now=clock.now)
    gate = Gate(pacer, slots, now=clock.now, call_at=clock.at)
    gone: list[tuple[TrafficClass, int]] = []
    queued: list[tuple[TrafficClass, int]] = []

    def arrive(number: int, cls: TrafficClass, tokens: float) -> None:
        def go(waiter: Waiter) -> None:
            gone.append((cls, number))
            assert gate.in_flight <= slots
            clock.at(clock.now() + 0.5, lambda: gate.leave(waiter))

        queued.append((cls, number))
        gate.enqueue(Need(1, tokens, tokens, 0), cls, go)

    for number, (moment, cls, tokens) in enumerate(arrivals):
        clock.at(moment, lambda number=number, cls=cls, tokens=tokens: arrive(number, cls, tokens))
    clock.run(5000.0)
    assert len(gone) == len(arrivals), "nobody waits for ever"
    for cls in TrafficClass:
        assert [one for one in gone if one[0] is cls] == [one for one in queued if one[0] is cls]
    assert gate.in_flight == 0
    assert all(gate.predicted_wait(cls, Need()) <= 120 for cls in TrafficClass)


def test_a_repeated_attempt_goes_to_the_head(pacing: ModuleType) -> None:
    clock = pacing.Clock()
    gate = Gate(SharePacer({"requests": 60.0}, now=clock.now), 9, now=clock.now, call_at=clock.at)
    order: list[str] = []
    for name in ("first", "second", "third"):
        gate.enqueue(Need(), TrafficClass.BATCH, lambda _, name=name: order.append(name))
    gate.enqueue(Need(), TrafficClass.BATCH, lambda _: order.append("again"), front=True)
    clock.run(10.0)
    assert order == ["first", "again", "second", "third"]


def test_withdrawing_from_queue_head_and_flight(pacing: ModuleType) -> None:
    clock = pacing.Clock()
    gate = Gate(SharePacer({"requests": 60.0}, now=clock.now), 9, now=clock.now, call_at=clock.at)
    order: list[int] = []
    waiters = [gate.enqueue(Need(), TrafficClass.INTERACTIVE, lambda _, n=n: order.append(n)) for n in range(5)]
    assert gate.predicted_wait(TrafficClass.INTERACTIVE, Need()) == pytest.approx(5.0)
    for index in (0, 1, 3):
        gate.withdraw(waiters[index])
        gate.withdraw(waiters[index])
    assert gate.in_flight == 0
    assert gate.predicted_wait(TrafficClass.INTERACTIVE, Need()) == pytest.approx(3.0)
    clock.run(10.0)
    assert order == [0, 2, 4]
    assert waiters[4].waits == pytest.approx({"queue": 1.0, "pacing": 1.0})
    gate.leave(waiters[4])
    gate.leave(waiters[4])
    assert gate.in_flight == 1


def test_whoever_may_go_at_once_has_not_waited_however_long_the_gate_takes() -> None:
    """A busy machine may stop a process for milliseconds between any two lines."""
    moments = itertools.count()
    gate = Gate(Unpaced(), 1, now=lambda: next(moments) * 0.005, call_at=lambda *_: pytest.fail("no timer"))
    first = gate.enqueue(Need(), TrafficClass.INTERACTIVE, lambda _: None)
    assert first.admitted_at is not None
    assert first.waits == {}
    second = gate.enqueue(Need(), TrafficClass.INTERACTIVE, lambda _: None)
    gate.leave(first)
    assert list(second.waits) == ["slot"]


def test_full_slots_make_a_predicted_wait(pacing: ModuleType) -> None:
    clock = pacing.Clock()
    gate = Gate(Unpaced(), 2, now=clock.now, call_at=clock.at)

    def go(waiter: Waiter) -> None:
        clock.at(clock.now() + 4.0, lambda: gate.leave(waiter))

    for _ in range(6):
        gate.enqueue(Need(), TrafficClass.INTERACTIVE, go)
    clock.run(4.0)
    assert gate.predicted_wait(TrafficClass.INTERACTIVE, Need()) == pytest.approx(6.0)
    clock.run(20.0)
    assert gate.predicted_wait(TrafficClass.INTERACTIVE, Need()) == 0.0


def test_a_slot_that_is_given_back_unused_teaches_nothing_of_how_long_attempts_take(pacing: ModuleType) -> None:
    clock = pacing.Clock()
    gate = Gate(Unpaced(), 1, now=clock.now, call_at=clock.at)
    first = gate.enqueue(Need(), TrafficClass.INTERACTIVE, lambda _: None)
    clock.run(clock.now() + 8.0)
    gate.leave(first)
    for _ in range(50):
        gate.withdraw(gate.enqueue(Need(), TrafficClass.INTERACTIVE, lambda _: None))
    gate.enqueue(Need(), TrafficClass.INTERACTIVE, lambda _: None)
    assert gate.predicted_wait(TrafficClass.INTERACTIVE, Need()) == pytest.approx(8.0)


def test_the_oldest_wait_for_a_slot_counts_and_no_wait_for_quota(pacing: ModuleType) -> None:
    clock = pacing.Clock()
    gate = Gate(Unpaced(), 1, now=clock.now, call_at=clock.at)

    def go(waiter: Waiter) -> None:
        clock.at(clock.now() + 4.0, lambda: gate.leave(waiter))

    for moment in (0.0, 1.0, 2.0):
        clock.at(moment, lambda: gate.enqueue(Need(), TrafficClass.INTERACTIVE, go))
    clock.run(0.5)
    assert gate.slot_wait(TrafficClass.INTERACTIVE) == 0.0, "one is under way, none waits"
    clock.run(3.0)
    assert gate.slot_wait(TrafficClass.INTERACTIVE) == pytest.approx(2.0), "since the second came"
    assert gate.slot_wait(TrafficClass.BATCH) == 0.0
    clock.run(5.0)
    assert gate.slot_wait(TrafficClass.INTERACTIVE) == pytest.approx(3.0), "since the third came"
    clock.run(20.0)
    assert gate.slot_wait(TrafficClass.INTERACTIVE) == 0.0

    for slots, waits_for in ((4, "quota alone"), (1, "both: another pod would share the same quota")):
        gate = Gate(SharePacer({"requests": 1.0, "tokens": 1e6}, now=clock.now), slots, now=clock.now, call_at=clock.at)
        for _ in range(3):
            gate.enqueue(Need(1, 10, 10, 0), TrafficClass.INTERACTIVE, go)
        assert gate.waiting(TrafficClass.INTERACTIVE) > 0
        assert gate.slot_wait(TrafficClass.INTERACTIVE) == 0.0, waits_for


def request(text: str, system: str | None = None, max_tokens: int | None = None) -> lm15.Request:
    return lm15.Request(
        model="m",
        system=system,
        messages=(lm15.Message.user(text),),
        config=lm15.Config(max_tokens=max_tokens),
    )


def test_needs_are_learnt_by_stage() -> None:
    needs = Needs()
    assert needs.predict(request("x" * 400)) == Need(1.0, 356.0, 100.0, 256.0)
    assert needs.predict(request("x" * 400, max_tokens=50)).output_tokens == 50
    for _ in range(30):
        needs.learn(request("x" * 400, "answer"), Need(1.0, 220.0, 200.0, 20.0))
        needs.learn(request("x" * 400, "summarise"), Need(1.0, 600.0, 100.0, 500.0))
    short, long = needs.predict(request("x" * 400, "answer")), needs.predict(request("x" * 400, "summarise"))
    assert (short.input_tokens, short.output_tokens) == (pytest.approx(200, rel=0.05), pytest.approx(20))
    assert (long.input_tokens, long.output_tokens) == (pytest.approx(100, rel=0.05), pytest.approx(500))
    for number in range(300):
        needs.learn(request("x", f"stage {number}"), Need(1.0, 2.0, 1.0, 1.0))
    assert needs.predict(request("x" * 400, "answer")).output_tokens == 256.0, "forgotten"


def test_usage_that_is_not_reported_is_unknown() -> None:
    assert used_of(None) is None
    assert used_of(lm15.Usage()) is None
    assert used_of(lm15.Usage(input_tokens=3, output_tokens=4)) == Need(1.0, 7.0, 3.0, 4.0)
    assert used_of(lm15.Usage(output_tokens=4)) == Need(1.0, 4.0, 0.0, 4.0)


async def test_peers_are_counted_by_address_and_failures_are_unknown() -> None:
    assert await count_peers("127.0.0.1") == 1
    assert await count_peers("no-such-name.invalid") is None
