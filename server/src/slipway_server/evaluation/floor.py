# SPDX-License-Identifier: Apache-2.0
"""Is a score above a floor? Three answers, because an interval that holds the floor says neither yes nor no.

    against_floor([1, 1, 0, 1, …], 0.88)       # FloorResult(verdict=INCONCLUSIVE, needs=140, …)

PASS where the score's 95 % interval lies at or above the floor, FAIL where it lies below, INCONCLUSIVE where it holds
the floor. A program whose true score is the floor passes, and fails, in at most about 2.5 % of all runs each.

`needs` is what would take the interval off the floor if score and spread stayed as they are; for scores of 0 and 1 that
is Wilson's interval solved for n, which is the score test: n > z² f (1 - f) / (p - f)².
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from slipway_server.evaluation.statistics import CONFIDENCE, Interval, interval_of, mean

MOST_EXAMPLES = 1_000_000
"""A score so near the floor that it needs more is on it, for all that can be found out."""


class FloorVerdict(StrEnum):
    """What a run says about the floor."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class FloorResult:
    """`needs`: further examples that would decide; 0 where it is decided, None where no feasible number would."""

    verdict: FloorVerdict
    floor: float
    score: float
    interval: Interval
    n: int
    needs: int | None

    @property
    def words(self) -> str:
        """One line."""
        low, high = self.interval
        said = {
            FloorVerdict.PASS: f"the interval lies above the floor {self.floor:g}",
            FloorVerdict.FAIL: f"the interval lies below the floor {self.floor:g}",
            FloorVerdict.INCONCLUSIVE: f"the interval holds the floor {self.floor:g}; {self._needed}",
        }[self.verdict]
        return f"{self.verdict}: {self.score:.3f} ({low:.3f} to {high:.3f}), n = {self.n}: {said}"

    @property
    def _needed(self) -> str:
        if self.needs is None:
            return "the score is too near to it for any number of examples to tell"
        return f"about {self.needs:,} more examples would tell, if the score stays"


def against_floor(scores: Sequence[float], floor: float) -> FloorResult:
    """Judge scores between 0 and 1 against a floor between 0 and 1, both exclusive."""
    interval, score, n = interval_of(scores), mean(scores), len(scores)
    if n and interval.low >= floor:
        return FloorResult(FloorVerdict.PASS, floor, score, interval, n, 0)
    if n and interval.high < floor:
        return FloorResult(FloorVerdict.FAIL, floor, score, interval, n, 0)
    enough = _enough(scores, floor)
    needs = None if enough is None else max(1, enough - n)
    return FloorResult(FloorVerdict.INCONCLUSIVE, floor, score, interval, n, needs)


def _enough(scores: Sequence[float], floor: float) -> int | None:
    """The smallest number of such scores whose interval does not hold the floor."""
    values = np.asarray(scores, dtype=np.float64)
    if not len(values) or float(values.mean()) == floor:
        return None
    score, z = float(values.mean()), float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    distance = abs(score - floor)
    if np.isin(values, (0.0, 1.0)).all():
        found = z * z * floor * (1 - floor) / distance**2
    elif np.ptp(values) == 0:
        found = z * z * (floor if score > floor else 1 - floor) / distance
    else:
        found = _by_student(float(values.std(ddof=1)) / distance)
    return math.floor(found) + 1 if found < MOST_EXAMPLES else None


def _by_student(spread: float) -> float:
    """The number of scores at which Student's half interval, for a standard deviation of `spread`, becomes 1."""
    low, high = 2.0, float(MOST_EXAMPLES)
    while high - low > 0.5:
        middle = (low + high) / 2
        half = stats.t.ppf((1 + CONFIDENCE) / 2, middle - 1) * spread / math.sqrt(middle)
        low, high = (middle, high) if half > 1 else (low, middle)
    return high
