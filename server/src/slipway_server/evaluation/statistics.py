# SPDX-License-Identifier: Apache-2.0
"""How sure a score is, and whether two of them differ. All intervals are 95 %, all resampling is seeded.

    interval_of([1, 0, 1, 1])                       # Interval(low=0.301, high=0.954)
    compare_scores([0, 0, 1, 1], [1, 0, 1, 1])      # difference 0.25, its interval, p

Scores lie between 0 and 1. Where all are 0 or 1, a mean gets Wilson's interval (1927) and a pair McNemar's exact test;
otherwise Student's interval and a sign-flip permutation test (exact up to 13 examples). A difference gets the interval
of a paired bootstrap. Pairing matters: both programs meet the same hard examples (Miller 2024, arXiv 2411.00640).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 20_160_616
CELLS = 1_000_000
"""Scores that are resampled at once: 10,000 resamples of a few thousand graded scores would take gigabytes."""

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Both ends belong to it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Second minus first, over the `n` examples that both were scored on. `p`: two-sided, of no difference at all."""

    difference: float
    interval: Interval
    p: float
    n: int
    better: int
    worse: int


def mean(scores: Sequence[float]) -> float:
    """The mean, exact to the last digit whatever the order; nan of nothing."""
    return math.fsum(scores) / len(scores) if len(scores) else math.nan


def interval_of(scores: Sequence[float]) -> Interval:
    """Interval of the mean of scores between 0 and 1; (0, 1) of nothing."""
    values = np.asarray(scores, dtype=np.float64)
    if not len(values):
        return Interval(0.0, 1.0)
    if _is_binary(values):
        return _wilson(int(values.sum()), len(values))
    if np.ptp(values) == 0:
        return _of_equals(float(values[0]), len(values), Interval(0.0, 1.0))
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    return Interval(max(0.0, float(low)), min(1.0, float(high)))


def compare_scores(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare paired scores: both sequences are over the same examples, in the same order."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired scores must be of equal number, got {len(a)} and {len(b)}")
    if not len(a):
        return Comparison(math.nan, Interval(-1.0, 1.0), 1.0, 0, 0, 0)
    differences = b - a
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    p = _mcnemar(better, worse) if _is_binary(a) and _is_binary(b) else _permutation(differences)
    return Comparison(mean(b.tolist()) - mean(a.tolist()), _bootstrap(differences), p, len(a), better, worse)


def _is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _of_equals(value: float, n: int, bounds: Interval) -> Interval:
    """Interval of a mean whose `n` observations are all equal: so many may differ as Wilson allows for 0 of n."""
    unseen = _wilson(0, n).high
    return Interval(value - unseen * (value - bounds.low), value + unseen * (bounds.high - value))


def _wilson(successes: int, n: int) -> Interval:
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    share, spread = successes / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return Interval(max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def _mcnemar(better: int, worse: int) -> float:
    return float(stats.binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def _permutation(differences: Floats) -> float:
    if not differences.any() or len(differences) < 2:
        return 1.0
    result = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_at_once(len(differences)),
        rng=np.random.default_rng(SEED),
    )
    return float(result.pvalue)


def _resampled_means(differences: Floats) -> Floats:
    """Few distinct values (scores of 0 and 1 give three) are counted, not picked: the same, 100 times as fast."""
    n, dice = len(differences), np.random.default_rng(SEED)
    values, counts = np.unique(differences, return_counts=True)
    counted = len(values) <= n // 8
    at_once = _at_once(len(values) if counted else n)
    means: list[Floats] = []
    for size in (min(at_once, RESAMPLES - done) for done in range(0, RESAMPLES, at_once)):
        if counted:
            means.append(dice.multinomial(n, counts / n, size=size) @ values / n)
        else:
            means.append(differences[dice.integers(0, n, size=(size, n))].mean(axis=1))
    return np.concatenate(means)


def _at_once(n: int) -> int:
    """Resamples of `n` numbers each that are made at once."""
    return max(1, CELLS // n)


def _bootstrap(differences: Floats) -> Interval:
    n = len(differences)
    if np.ptp(differences) == 0:
        return _of_equals(float(differences[0]), n, Interval(-1.0, 1.0))
    low, high = np.quantile(_resampled_means(differences), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))
