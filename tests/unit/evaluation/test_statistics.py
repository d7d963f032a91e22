# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from slipway_server.evaluation import statistics
from slipway_server.evaluation.statistics import compare_scores, interval_of, mean


def test_wilson_for_scores_of_0_and_1() -> None:
    expected = stats.binomtest(17, 30).proportion_ci(0.95, "wilson")
    assert interval_of([1.0] * 17 + [0.0] * 13) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_perfect_score_is_not_certain(score: float) -> None:
    low, high = interval_of([score] * 20)
    assert high - low == pytest.approx(stats.binomtest(0, 20).proportion_ci(0.95, "wilson").high)
    assert score in (low, high)


def test_student_for_graded_scores() -> None:
    scores = [0.2, 0.4, 0.4, 0.9, 0.5]
    expected = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert interval_of(scores) == pytest.approx((expected.low, expected.high))


def test_of_nothing() -> None:
    assert interval_of([]) == (0.0, 1.0)
    assert math.isnan(mean([]))
    assert compare_scores([], []).p == 1.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=16), min_size=1, max_size=30))
def test_an_interval_holds_its_mean(scores: list[float]) -> None:
    low, high = interval_of(scores)
    assert 0 <= low <= mean(scores) + 1e-12
    assert mean(scores) <= high + 1e-12 <= 1 + 2e-12


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.randoms())
def test_the_mean_does_not_depend_on_the_order(scores: list[float], source: random.Random) -> None:
    shuffled = list(scores)
    source.shuffle(shuffled)
    assert mean(shuffled) == mean(scores)


def test_mcnemar_counts_discordant_pairs_only() -> None:
    first = [0.0] * 12 + [1.0] * 18
    second = [1.0] * 9 + [0.0] * 3 + [0.0] + [1.0] * 17
    result = compare_scores(first, second)
    assert (result.better, result.worse, result.n) == (9, 1, 30)
    assert result.p == pytest.approx(stats.binomtest(9, 10, 0.5).pvalue)
    assert result.difference == pytest.approx(8 / 30)
    assert 0 < result.interval.low < 8 / 30 < result.interval.high


def test_graded_scores_are_permuted() -> None:
    first = [0.1, 0.2, 0.3, 0.4, 0.5]
    second = [value + 0.2 for value in first]
    assert compare_scores(first, second).p == pytest.approx(2 / 2**5)
    assert compare_scores(first, first).p == 1.0


def test_no_difference_is_not_certain_either() -> None:
    result = compare_scores([1.0, 0.0] * 15, [1.0, 0.0] * 15)
    bound = stats.binomtest(0, 30).proportion_ci(0.95, "wilson").high
    assert result.interval == pytest.approx((-bound, bound))


def test_the_same_twice() -> None:
    source = random.Random(1)
    first, second = [source.random() for _ in range(40)], [source.random() for _ in range(40)]
    assert compare_scores(first, second) == compare_scores(first, second)


def test_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="equal number"):
        compare_scores([1.0], [1.0, 0.0])


def test_intervals_of_a_difference_cover_what_they_promise() -> None:
    """300 seeded pairs of runs with a true difference of 0.1: the interval holds it in about 95 % of them."""
    source = np.random.default_rng(5)
    held = 0
    for _ in range(300):
        first = (source.random(60) < 0.6).astype(float)
        second = np.where(source.random(60) < 0.25, (source.random(60) < 1.0), first)
        result = compare_scores(first.tolist(), second.tolist())
        held += result.interval.low <= 0.1 <= result.interval.high
    assert 0.90 <= held / 300 <= 0.99


def graded(n: int) -> tuple[list[float], list[float]]:
    dice = random.Random(5)
    first = [dice.random() for _ in range(n)]
    return first, [min(1.0, max(0.0, score + dice.gauss(0.01, 0.1))) for score in first]


def test_many_graded_scores_are_resampled_in_little_memory() -> None:
    first, second = graded(1500)
    tracemalloc.start()
    try:
        compare_scores(first, second)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 150e6  # at once it would be a gigabyte


@pytest.mark.parametrize("digits", [9, 0])
def test_what_is_resampled_at_once_changes_nothing(digits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ([round(score, digits) for score in scores] for scores in graded(40))
    second[:3] = [1 - score for score in first[:3]]
    monkeypatch.setattr(statistics, "CELLS", 10**9)
    at_once = compare_scores(first, second)
    monkeypatch.setattr(statistics, "CELLS", 9_999)
    assert compare_scores(first, second) == at_once
