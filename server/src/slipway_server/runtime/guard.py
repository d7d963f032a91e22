# SPDX-License-Identifier: Apache-2.0
"""Takes a candidate out of the routing that clearly fails, or is clearly slower, more than stable.

    guard = Guard(GuardConfig())
    guard.observe(candidate=True, failed=True, latency_seconds=0.4)
    guard.verdict                # None, or why the candidate has to go

Each of the two tests bets against "the candidate is not worse than stable by more than the margin": its wealth is a
nonnegative supermartingale as long as that holds, so by Ville's inequality it exceeds 1/alpha in at most a share of
alpha of all healthy candidates, however long and however often one looks (testing by betting: Shafer 2021; Waudby-Smith
and Ramdas 2024). The bets are a fixed mixture of stakes, so that both an outright failure and a slow one are found, and
of beginnings, so that a long good record does not hide what begins after it. Stable's failures and latencies are its
own: the worse of all that is known and of its last answers, because what befalls both is not the candidate's fault.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from slipway_server.config import Settings

_STAKES = (0.1, 0.3, 0.7)
"""Shares of the wealth that are lost by an answer that is as it should be, at the assumed rate."""

_SLOW_QUANTILE = 0.9
_LATENCIES_KEPT = 512
_LAST_ANSWERS = 10


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """Bounds of a candidate. `error_margin` is in shares of answers; `latency_ratio` over stable's 90th percentile."""

    alpha: float = 0.005
    error_margin: float = 0.05
    latency_ratio: float = 2.0
    latency_margin: float = 0.1
    min_stable_answers: int = 30

    @classmethod
    def from_settings(cls, settings: Settings) -> GuardConfig:
        """From SLIPWAY_CANDIDATE_…"""
        return cls(error_margin=settings.candidate_error_margin, latency_ratio=settings.candidate_latency_ratio)


class _Bet:
    """Wealth of a mixture of bets against a rate that may change before every step.

    A share of 1 / (n (n + 1)) of the wealth is put in at step n; these add up to 1.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._wealth = [0.0] * len(_STAKES)

    def step(self, hit: bool, rate: float) -> None:
        self._steps += 1
        put_in = 1 / (self._steps * (self._steps + 1))
        for index, stake in enumerate(_STAKES):
            factor = 1 + stake / rate * ((1.0 if hit else 0.0) - rate)
            self._wealth[index] = (self._wealth[index] + put_in) * factor

    @property
    def wealth(self) -> float:
        return sum(self._wealth) / len(self._wealth) + 1 / (self._steps + 1)


class Guard:
    """Watches one candidate beside stable. Once given, a verdict stays; a new candidate needs a new guard."""

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.verdict: str | None = None
        self._errors, self._slow = _Bet(), _Bet()
        self._stable_answers = self._stable_failures = 0
        self._candidate_answers = self._candidate_failures = 0
        self._last_failed: deque[bool] = deque(maxlen=_LAST_ANSWERS)
        self._recent: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._sorted: list[float] = []

    def __repr__(self) -> str:
        return (
            f"Guard(candidate {self._candidate_failures}/{self._candidate_answers} failed, "
            f"stable {self._stable_failures}/{self._stable_answers}, "
            f"evidence {self._errors.wealth:.2g} errors, {self._slow.wealth:.2g} latency, of {1 / self.config.alpha:g})"
        )

    def observe(self, *, candidate: bool, failed: bool, latency_seconds: float | None) -> None:
        """One answer. Limits, outages and wrong requests say nothing about an artifact: they do not belong here.

        `latency_seconds` is None where a cache had a part in the answer: stable's is warm, a new candidate's is not.
        """
        if not candidate:
            self._stable(failed, latency_seconds)
            return
        self._candidate_answers += 1
        self._candidate_failures += failed
        self._errors.step(failed, self._allowed_failures())
        if not failed and latency_seconds is not None and len(self._sorted) >= self.config.min_stable_answers:
            self._slow.step(latency_seconds > self._slowest_allowed(), 1 - _SLOW_QUANTILE + self.config.latency_margin)
        self._judge()

    def _stable(self, failed: bool, latency_seconds: float | None) -> None:
        self._stable_answers += 1
        self._stable_failures += failed
        self._last_failed.append(failed)
        if failed or latency_seconds is None:
            return
        if len(self._recent) == _LATENCIES_KEPT:
            self._sorted.remove(self._recent[0])
        self._recent.append(latency_seconds)
        insort(self._sorted, latency_seconds)

    def _allowed_failures(self) -> float:
        """Stable's rate as known before this answer (Laplace's rule of succession) or its last, with the margin."""
        overall = (self._stable_failures + 1) / (self._stable_answers + 2)
        lately = sum(self._last_failed) / _LAST_ANSWERS
        return min(1.0, max(overall, lately) + self.config.error_margin)

    def _slowest_allowed(self) -> float:
        last = sorted(islice(reversed(self._recent), _LAST_ANSWERS))
        return self.config.latency_ratio * max(_slow_one(self._sorted), _slow_one(last))

    def _judge(self) -> None:
        if self.verdict is not None:
            return
        counts = (
            f"{self._candidate_failures} of {self._candidate_answers} answers failed, "
            f"stable {self._stable_failures} of {self._stable_answers}"
        )
        if self._errors.wealth >= 1 / self.config.alpha:
            self.verdict = f"the candidate fails more than stable: {counts}"
        elif self._slow.wealth >= 1 / self.config.alpha:
            self.verdict = f"the candidate is slower than {self.config.latency_ratio:g} times stable; {counts}"


def _slow_one(ordered: Sequence[float]) -> float:
    return ordered[int(_SLOW_QUANTILE * (len(ordered) - 1))]
