# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.evaluation.floor import FloorVerdict, against_floor
from slipway_server.evaluation.statistics import interval_of


def binary(right: int, wrong: int) -> list[float]:
    return [1.0] * right + [0.0] * wrong


@pytest.mark.parametrize(
    ("scores", "floor", "verdict"),
    [
        (binary(95, 5), 0.88, FloorVerdict.PASS),
        (binary(95, 5), 0.90, FloorVerdict.INCONCLUSIVE),
        (binary(75, 25), 0.88, FloorVerdict.FAIL),
        (binary(10, 0), 0.88, FloorVerdict.INCONCLUSIVE),
        (binary(0, 30), 0.5, FloorVerdict.FAIL),
        ([0.9, 0.8, 1.0, 0.7] * 20, 0.8, FloorVerdict.PASS),
        ([0.5] * 40, 0.3, FloorVerdict.PASS),
        ([0.5] * 40, 0.8, FloorVerdict.FAIL),
        ([], 0.5, FloorVerdict.INCONCLUSIVE),
    ],
)
def test_the_interval_decides(scores: list[float], floor: float, verdict: FloorVerdict) -> None:
    result = against_floor(scores, floor)
    assert result.verdict is verdict
    assert result.verdict in result.words
    assert (result.needs == 0) == (verdict is not FloorVerdict.INCONCLUSIVE)


@settings(deadline=None)
@given(right=st.integers(0, 60), wrong=st.integers(0, 60), floor=st.sampled_from([0.05, 0.5, 0.88, 0.99]))
def test_so_many_more_of_the_same_decide_and_fewer_do_not(right: int, wrong: int, floor: float) -> None:
    """For scores of 0 and 1 it is exact: Wilson's interval at that number has left the floor, and not before."""
    if not right + wrong:
        return
    result = against_floor(binary(right, wrong), floor)
    if result.verdict is not FloorVerdict.INCONCLUSIVE or result.needs is None:
        return
    n, share = right + wrong, right / (right + wrong)

    def interval_at(total: float) -> tuple[float, float]:
        z2, spread = 3.841458820694124, 3.841458820694124 / total
        half = np.sqrt(z2 * (share * (1 - share) / total + spread / (4 * total))) / (1 + spread)
        centre = (share + spread / 2) / (1 + spread)
        return centre - half, centre + half

    low, high = interval_at(n + result.needs)
    assert low >= floor - 1e-9 or high < floor + 1e-9
    if result.needs > 1:
        low, high = interval_at(n + result.needs - 2)
        assert low < floor + 1e-9
        assert high >= floor - 1e-9


@settings(deadline=None, max_examples=50)
@given(
    scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9]), min_size=4, max_size=30),
    floor=st.sampled_from([0.2, 0.45, 0.6]),
)
def test_graded_scores_repeated_so_often_decide(scores: list[float], floor: float) -> None:
    result = against_floor(scores, floor)
    if result.verdict is not FloorVerdict.INCONCLUSIVE or result.needs is None or result.needs > 20_000:
        return
    times = -(-(len(scores) + result.needs) // len(scores))
    low, high = interval_of(scores * times)
    assert low >= floor - 1e-3 or high <= floor + 1e-3


def test_a_score_on_the_floor_needs_more_than_there_is() -> None:
    result = against_floor(binary(88, 12), 0.88)
    assert result.needs is None
    assert "too near" in result.words


def test_a_program_that_is_at_the_floor_passes_and_fails_rarely() -> None:
    rng = np.random.default_rng(7)
    verdicts = [against_floor((rng.random(400) < 0.88).astype(float).tolist(), 0.88).verdict for _ in range(1000)]
    assert verdicts.count(FloorVerdict.PASS) <= 40
    assert verdicts.count(FloorVerdict.FAIL) <= 40


def test_a_program_that_is_far_below_always_fails() -> None:
    rng = np.random.default_rng(8)
    verdicts = {against_floor((rng.random(200) < 0.7).astype(float).tolist(), 0.88).verdict for _ in range(200)}
    assert verdicts == {FloorVerdict.FAIL}
