# SPDX-License-Identifier: Apache-2.0
"""The gate: may a recompiled program take the incumbent's place? Both answered the same held-out examples. Pure.

    result = gate(incumbent, candidate, slices=["short", "long", …])
    result.verdict, result.words, result.detectable

Normal path: PASS only where the candidate is better beyond chance, one-sided 5 %: McNemar's exact test for scores of 0
and 1, a sign-flip permutation test otherwise. "A higher score" is no evidence: a candidate that is truly worse, but was
the best of ten on a validation set, has the higher score there in most cases (docs/loop.md).

Emergency path, apart and only on request: PASS where the candidate is not worse by more than 2 points, one-sided 5 %.
It lets through what changes nothing, and more often something worse; its error is stated in docs/loop.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from slipway_server.evaluation.statistics import Comparison, compare_scores

ALPHA = 0.05
POWER_Z = 0.8416
ALPHA_Z = 1.6449
MARGIN = 0.02
SLICE_LEAST = 20
LEAST = 30


class GateVerdict(StrEnum):
    """PASS: may become a candidate. INCONCLUSIVE: `needs` more held-out examples could tell."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate found.

    `p`: one-sided, of a candidate that is no better. `detectable`: the smallest improvement that the held-out set finds
    with 80 % power; a drop of that size is found as surely. `vetoed`: slices in which the candidate is worse.
    """

    verdict: GateVerdict
    path: str
    words: str
    comparison: Comparison
    p: float
    detectable: float
    needs: int
    vetoed: Sequence[str]


class _Result(Protocol):
    def __call__(self, verdict: GateVerdict, words: str, needs: int = 0) -> GateResult: ...


def gate(
    incumbent: Sequence[float],
    candidate: Sequence[float],
    slices: Sequence[str] | None = None,
    *,
    emergency: bool = False,
) -> GateResult:
    """Judge paired scores between 0 and 1: both sequences over the same examples, in the same order.

    Args:
        slices: The slice of each example; a candidate that is significantly worse in one of at least 20 is vetoed.
        emergency: Take the non-inferiority path.
    """
    comparison = compare_scores(incumbent, candidate)
    n, gain = comparison.n, comparison.difference
    p = one_sided(comparison)
    discordant = _second_moment(incumbent, candidate)
    vetoed = _vetoed(incumbent, candidate, slices) if slices else []

    def result(verdict: GateVerdict, words: str, needs: int = 0) -> GateResult:
        path = "emergency (non-inferiority)" if emergency else "normal"
        found = detectable(n, discordant) if n else 1.0
        return GateResult(verdict, path, words, comparison, p, found, needs, vetoed)

    if n < LEAST:
        return result(GateVerdict.INCONCLUSIVE, f"{n} held-out examples are too few to say anything", LEAST - n)
    if vetoed:
        return result(GateVerdict.FAIL, f"worse in the slice {', '.join(vetoed)}")
    if emergency:
        return _non_inferior(comparison, incumbent, candidate, result)
    if p < ALPHA:
        return result(GateVerdict.PASS, f"better by {gain:+.3f}, p = {p:.2g}")
    if gain <= 0:
        return result(GateVerdict.FAIL, f"no better: {gain:+.3f}, p = {p:.3f}")
    needs = needed(gain, discordant) - n
    if needs <= 0:
        needs = max(LEAST, n // 4)
    return result(GateVerdict.INCONCLUSIVE, f"{gain:+.3f} may be chance, p = {p:.3f}; needs {needs} more", needs)


def one_sided(comparison: Comparison) -> float:
    """p of "the candidate is no better": half of a symmetric two-sided p on the better side."""
    return comparison.p / 2 if comparison.difference > 0 else 1 - comparison.p / 2


def detectable(n: int, discordant: float) -> float:
    """The smallest difference that n pairs find with 80 % power at one-sided 5 %.

    Normal approximation of McNemar's test (Connor 1987), solved for the difference by bisection.
    """
    low, high = 0.0, math.sqrt(discordant) or 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle, discordant) > n else (low, middle)
    return high


def needed(difference: float, discordant: float) -> int:
    """Pairs for 80 % power at one-sided 5 %. `discordant`: mean squared paired difference."""
    if difference <= 0:
        return 10**9
    rest = max(0.0, discordant - difference**2)
    return math.ceil(((ALPHA_Z * math.sqrt(discordant) + POWER_Z * math.sqrt(rest)) / difference) ** 2)


def _non_inferior(
    comparison: Comparison, incumbent: Sequence[float], candidate: Sequence[float], result: _Result
) -> GateResult:
    n = comparison.n
    variance = max(_second_moment(incumbent, candidate) - comparison.difference**2, 1 / n**2) * n / max(1, n - 1)
    low = comparison.difference - ALPHA_Z * math.sqrt(variance / n)
    if low > -MARGIN:
        return result(GateVerdict.PASS, f"not worse by more than {MARGIN:.2f}: lower bound {low:+.3f}")
    if comparison.difference < -MARGIN:
        return result(GateVerdict.FAIL, f"worse: {comparison.difference:+.3f}")
    room = comparison.difference + MARGIN
    needs = math.ceil(variance * ((ALPHA_Z + POWER_Z) / room) ** 2) - n if room > 0 else n
    return result(
        GateVerdict.INCONCLUSIVE, f"lower bound {low:+.3f}; needs {max(needs, LEAST)} more", max(needs, LEAST)
    )


def _vetoed(incumbent: Sequence[float], candidate: Sequence[float], slices: Sequence[str]) -> list[str]:
    found = []
    for name in dict.fromkeys(slices):
        picked = [index for index, slice_ in enumerate(slices) if slice_ == name]
        if name and len(picked) >= SLICE_LEAST:
            compared = compare_scores([incumbent[i] for i in picked], [candidate[i] for i in picked])
            if 1 - one_sided(compared) < ALPHA and compared.difference < 0:
                found.append(name)
    return found


def _second_moment(incumbent: Sequence[float], candidate: Sequence[float]) -> float:
    """Mean squared paired difference: the share of discordant pairs for scores of 0 and 1; at least half a pair's."""
    squares = math.fsum((b - a) ** 2 for a, b in zip(incumbent, candidate, strict=True))
    return max(squares, 0.5) / max(1, len(incumbent))
