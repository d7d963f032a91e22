# SPDX-License-Identifier: Apache-2.0
"""The decision, window by window: it watches before it acts, acts once, and counts nothing that it should not."""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import reduce
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.improve.decide import (
    DAILY,
    WEEKLY,
    Pool,
    Preset,
    Step,
    Verdict,
    Window,
    chi_squared,
    replay,
    wanted,
)


def windows(*means: float, n: int = 100, first: int = 0) -> list[Window]:
    return [Window(f"{first + day:04d}", n, mean * n, mean * n) for day, mean in enumerate(means)]


BASELINE = windows(*[0.85, 0.87, 0.83, 0.86, 0.84, 0.85, 0.85] * 2)


def verdicts(steps: list[Step]) -> list[str]:
    return [step.verdict.value for step in steps]


def test_the_baseline_is_the_artifacts_own_first_answers() -> None:
    steps = replay(BASELINE + windows(0.85, first=14), DAILY)
    assert verdicts(steps) == ["BASELINING"] * 14 + ["HEALTHY"]
    assert steps[-1].baseline == pytest.approx(0.85)
    assert wanted(steps[:3], DAILY) == DAILY.baseline_judged
    assert wanted(steps, DAILY) == DAILY.judged


def test_a_drop_is_watched_confirmed_on_fresh_windows_and_acted_on_once() -> None:
    steps = replay(BASELINE + windows(*[0.70] * 20, first=14), DAILY)
    assert verdicts(steps)[14:20] == ["HEALTHY", "WATCH", "WATCH", "WATCH", "DEGRADED", "DEGRADED"]
    assert [step.window.name for step in steps if step.act] == ["0018"]
    acted = steps[18]
    assert acted.drop == pytest.approx(0.15)
    assert wanted(steps[:16], DAILY) == DAILY.confirm_judged
    assert acted.state.fresh.n == 300


def test_an_alarm_that_fresh_answers_do_not_confirm_is_dropped() -> None:
    steps = replay(BASELINE + windows(0.70, 0.70, 0.85, 0.86, 0.84, 0.85, first=14), DAILY)
    assert verdicts(steps)[14:] == ["HEALTHY", "WATCH", "WATCH", "WATCH", "HEALTHY", "HEALTHY"]
    assert "not confirmed" in steps[18].reason
    assert not any(step.act for step in steps)


def test_the_days_that_raised_the_alarm_do_not_confirm_it() -> None:
    steps = replay(BASELINE + windows(0.60, *[0.85] * 3, first=14), DAILY)
    assert steps[14].verdict is Verdict.WATCH
    assert steps[-1].verdict is Verdict.HEALTHY


def test_a_canary_and_thin_windows_count_for_nothing() -> None:
    dropped = windows(*[0.70] * 10, first=14)
    frozen = replay(BASELINE + [replace(window, frozen=True) for window in dropped], DAILY)
    thin = replay(BASELINE + [replace(w, n=20, total=14, squares=14) for w in dropped], DAILY)
    for steps in (frozen, thin):
        assert {step.verdict for step in steps[14:]} == {Verdict.INCONCLUSIVE}
        assert steps[-1].cusum == 0
    assert "canary" in frozen[-1].reason
    assert "20 judged answers" in thin[-1].reason
    resumed = replay([*BASELINE, *[replace(w, frozen=True) for w in dropped], *windows(0.85, first=30)], DAILY)
    assert resumed[-1].verdict is Verdict.HEALTHY


def test_after_acting_nothing_is_decided_until_the_cool_down_is_over() -> None:
    steps = replay(BASELINE + windows(*[0.70] * 60, first=14), DAILY)
    acts = [int(step.window.name) for step in steps if step.act]
    assert len(acts) > 1
    assert min(b - a for a, b in pairwise(acts)) > DAILY.cool_down


def test_good_days_do_not_hide_bad_ones() -> None:
    long_good = replay(BASELINE + windows(*[0.95] * 200, *[0.70] * 3, first=14), DAILY)
    short = replay(BASELINE + windows(*[0.70] * 3, first=14), DAILY)
    assert verdicts(long_good)[-3:] == verdicts(short)[-3:]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([DAILY, WEEKLY]),
    st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1), st.booleans()), max_size=60),
)
def test_any_history_is_decided(preset: Preset, history: list[tuple[int, float, bool]]) -> None:
    rows = [Window(f"{i:04d}", n, n * mean, n * mean, frozen) for i, (n, mean, frozen) in enumerate(history)]
    steps = replay(rows, preset)
    assert len(steps) == len(rows)
    acts = [i for i, step in enumerate(steps) if step.act]
    assert all(steps[i].verdict is Verdict.DEGRADED for i in acts)
    assert all(b - a > preset.cool_down for a, b in pairwise(acts))
    for i in acts:
        before = [step.verdict for step in steps[:i] if step.verdict is not Verdict.INCONCLUSIVE]
        assert before[-preset.confirm_windows :] == [Verdict.WATCH] * preset.confirm_windows


@pytest.mark.parametrize("mean", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_extreme_baselines_are_no_special_case(mean: float) -> None:
    steps = replay(windows(*[mean] * 30), DAILY)
    assert {step.verdict for step in steps[14:]} == {Verdict.HEALTHY}


def spread(windows_: list[Window], sd: float) -> list[Window]:
    """The same means, of scores that lie between 0 and 1 with this standard deviation."""
    return [replace(window, squares=window.n * (window.mean**2 + sd**2)) for window in windows_]


def days_until_degraded(history: list[Window]) -> int:
    steps = replay(history, DAILY)
    return next(int(step.window.name) for step in steps if step.act) - 13


def test_scores_that_lie_close_together_say_more_than_passes_and_failures() -> None:
    history = BASELINE + windows(*[0.76] * 30, first=14)
    assert days_until_degraded(spread(history, 0.16)) < days_until_degraded(history)
    same = spread(history, (0.85 * 0.15) ** 0.5)
    assert days_until_degraded(same) == days_until_degraded(history)


def test_where_the_baselines_days_differ_an_alarm_takes_longer() -> None:
    restless = windows(*[0.85, 0.95, 0.75, 0.90, 0.80, 0.92, 0.78] * 2)
    after = windows(*[0.70] * 30, first=14)
    assert days_until_degraded(BASELINE + after) < days_until_degraded(restless + after)


def test_few_windows_are_not_trusted_to_have_differed_enough() -> None:
    pool = reduce(Pool.plus, spread(windows(0.80, 0.84, 0.86, 0.90, 0.82, 0.88), 0.1), Pool())
    assert pool.between() == pytest.approx(statistics.variance([0.80, 0.84, 0.86, 0.90, 0.82, 0.88]) - 0.0001, rel=0.2)
    assert pool.between() < pool.between(0.6) < pool.between(0.8) < pool.between(0.95)
    assert reduce(Pool.plus, windows(*[0.85] * 10), Pool()).between(0.5) == 0
    assert Pool().between(0.8) == Pool().plus(windows(0.85)[0]).between(0.8) == 0


@pytest.mark.parametrize(("p", "freedom", "quantile"), [(0.2, 13, 8.634), (0.2, 20, 14.578), (0.05, 13, 5.892)])
def test_the_quantiles_are_those_of_the_tables(p: float, freedom: int, quantile: float) -> None:
    assert chi_squared(p, freedom) == pytest.approx(quantile, rel=0.005)
