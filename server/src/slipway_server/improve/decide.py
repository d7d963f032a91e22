# SPDX-License-Identifier: Apache-2.0
"""Decides whether live answers have become worse: pure, so that simulated years run this very code.

    steps = replay(windows, DAILY)          # every window since the artifact went live, oldest first
    steps[-1].verdict, steps[-1].reason, steps[-1].act

1. The first 1,000 judged answers are the artifact's own baseline.
2. A CUSUM (Page 1954) adds up how much better "it has dropped" explains each window than "it has not". Evidence of a
   healthy day is never saved up, so an old good time cannot hide a new bad one.
3. Where it crosses its threshold there is an alarm, and nothing else yet: fresh windows, judged in larger numbers, must
   confirm it in a test of their own that knows how unsure the baseline is and how much days differ.
4. Then the verdict is DEGRADED and one recompilation may start; a cool-down follows.

Error rates of both presets: docs/loop.md, measured by bench/trigger.py with this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import NormalDist
from typing import Protocol


class Verdict(StrEnum):
    """What the loop says of the served artifact."""

    BASELINING = "BASELINING"
    HEALTHY = "HEALTHY"
    WATCH = "WATCH"
    DEGRADED = "DEGRADED"
    INCONCLUSIVE = "INCONCLUSIVE"
    JUDGE_MOVED = "JUDGE_MOVED"


@dataclass(frozen=True, slots=True)
class Preset:
    """How often, how many answers, and how sure. Scores lie between 0 and 1; `days` is the length of a window.

    Args:
        judged: Answers judged per window; `baseline_judged` while the baseline is made, `confirm_judged` while an
            alarm is being confirmed.
        minimum: A window with fewer counts for nothing.
        baseline: Judged answers that make the baseline, over at least `baseline_windows`: its error is the largest
            source of false alarms, and whole weeks balance weekends.
        slack, drop: The CUSUM weighs a drop by `drop` against one by `slack`.
        threshold: Its alarm, in natural log units of evidence.
        confirm_windows: Fresh windows that confirm; `confirm_margin`: what they must be below the baseline, with
            `confirm_z` standard errors to spare.
        day_sd: Standard deviation between days that is assumed at least, to confirm an alarm.
        day_confidence: How much days differ is estimated from the baseline, by the upper limit of this confidence: its
            windows are few, and too small an estimate recompiles for nothing. 0 takes the estimate itself: the limit
            of three windows would tell nothing.
        cool_down: Windows after a DEGRADED in which nothing is decided anew.
    """

    name: str
    days: int
    judged: int
    confirm_judged: int
    minimum: int
    baseline_judged: int
    baseline: int = 1000
    baseline_windows: int = 14
    slack: float = 0.01
    drop: float = 0.06
    threshold: float = 5.0
    confirm_windows: int = 3
    confirm_margin: float = 0.01
    confirm_z: float = 1.645
    day_sd: float = 0.02
    day_confidence: float = 0.8
    cool_down: int = 14


DAILY = Preset("daily", days=1, judged=100, confirm_judged=200, minimum=30, baseline_judged=200)
WEEKLY = Preset(
    "weekly",
    days=7,
    judged=350,
    confirm_judged=700,
    minimum=100,
    baseline_judged=700,
    baseline_windows=3,
    threshold=4.0,
    confirm_windows=1,
    day_sd=0.03,
    day_confidence=0.0,
    cool_down=2,
)
PRESETS = {preset.name: preset for preset in (DAILY, WEEKLY)}


@dataclass(frozen=True, slots=True)
class Window:
    """What was found in one window. `squares`: sum of the squared scores. `name`: its first day, ISO."""

    name: str
    n: int
    total: float
    squares: float
    frozen: bool = False
    """A canary was under way: its answers are other users', so this window counts for nothing."""

    @property
    def mean(self) -> float:
        """Mean score; nan of nothing."""
        return self.total / self.n if self.n else math.nan


@dataclass(frozen=True, slots=True)
class Pool:
    """Windows added up."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    windows: int = 0
    means: float = 0.0
    """Sum of the windows' means; `squared_means`: of their squares; `shares`: of 1/n."""
    squared_means: float = 0.0
    shares: float = 0.0

    def plus(self, window: Window) -> Pool:
        """With one more."""
        return Pool(
            self.n + window.n,
            self.total + window.total,
            self.squares + window.squares,
            self.windows + 1,
            self.means + window.mean,
            self.squared_means + window.mean**2,
            self.shares + 1 / window.n,
        )

    @property
    def mean(self) -> float:
        """Mean score."""
        return self.total / self.n

    @property
    def variance(self) -> float:
        """Of one answer's score, as if a 0 and a 1 had been seen besides: never 0 (Laplace's rule)."""
        return (self.squares + 1) / (self.n + 2) - self._smoothed**2

    @property
    def coin_variance(self) -> float:
        """What `variance` is where every score is 0 or 1."""
        return self._smoothed * (1 - self._smoothed)

    @property
    def _smoothed(self) -> float:
        return (self.total + 1) / (self.n + 2)

    def between(self, confidence: float = 0.0) -> float:
        """Variance between windows, beyond what their sizes explain (method of moments); 0 where they explain it all.

        With a `confidence`: the upper limit of the estimate, by the chi-squared distribution of the spread.
        """
        if self.windows < 2:
            return 0.0
        freedom = self.windows - 1
        spread = max(0.0, self.squared_means - self.means**2 / self.windows) / freedom
        if confidence:
            spread *= freedom / chi_squared(1 - confidence, freedom)
        return max(0.0, spread - self.variance * self.shares / self.windows)


@dataclass(frozen=True, slots=True)
class State:
    """What the decision remembers between windows."""

    baseline: Pool = field(default_factory=Pool)
    cusum: float = 0.0
    alarm: str = ""
    """Window that raised the alarm that is being confirmed."""
    fresh: Pool = field(default_factory=Pool)
    hold: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One window's verdict. `act`: this window, and no other, starts a recompilation."""

    window: Window
    verdict: Verdict
    reason: str
    baseline: float
    cusum: float
    act: bool
    state: State

    @property
    def drop(self) -> float:
        """Baseline minus what confirmed the alarm, or minus this window's mean; nan where there is none."""
        confirmed = self.state.fresh
        return self.baseline - (confirmed.mean if self.act and confirmed.n else self.window.mean)


class _Done(Protocol):
    def __call__(self, verdict: Verdict, reason: str, after: State, *, act: bool = False) -> Step: ...


def replay(windows: Iterable[Window], preset: Preset) -> list[Step]:
    """Decide window by window, oldest first. The same windows give the same steps."""
    state, steps = State(), []
    for window in windows:
        done = step(state, window, preset)
        steps.append(done)
        state = done.state
        if done.act:
            state = replace(state, fresh=Pool())
    return steps


def wanted(steps: Sequence[Step], preset: Preset) -> int:
    """Answers to judge in the next window."""
    if not steps or not is_complete(steps[-1].state.baseline, preset):
        return preset.baseline_judged
    return preset.confirm_judged if steps[-1].state.alarm else preset.judged


def step(state: State, window: Window, preset: Preset) -> Step:
    """Decide one window."""
    complete = is_complete(state.baseline, preset)
    baseline = state.baseline.mean if state.baseline.n else math.nan

    def done(verdict: Verdict, reason: str, after: State, *, act: bool = False) -> Step:
        return Step(window, verdict, reason, baseline, after.cusum, act, after)

    if window.frozen:
        return done(Verdict.INCONCLUSIVE, "a canary is under way; nothing is counted", state)
    if window.n < preset.minimum:
        return done(Verdict.INCONCLUSIVE, f"{window.n} judged answers, {preset.minimum} are needed", state)
    if not complete:
        pool = state.baseline.plus(window)
        baseline = pool.mean
        return done(Verdict.BASELINING, f"{pool.n} of {preset.baseline} judged answers", replace(state, baseline=pool))
    if state.hold:
        left = state.hold - 1
        return done(Verdict.DEGRADED, f"cool-down, {left} more windows", replace(state, hold=left))
    if state.alarm:
        return _confirm(state, window, preset, done)
    cusum = max(0.0, state.cusum + _evidence(state.baseline, window, preset))
    after = replace(state, cusum=cusum)
    if cusum <= preset.threshold:
        return done(Verdict.HEALTHY, f"CUSUM {cusum:.1f} of {preset.threshold:g}", after)
    reason = f"CUSUM {cusum:.1f} is above {preset.threshold:g}; {preset.confirm_windows} fresh windows must confirm"
    return done(Verdict.WATCH, reason, replace(after, alarm=window.name))


def _confirm(state: State, window: Window, preset: Preset, done: _Done) -> Step:
    fresh = state.fresh.plus(window)
    if fresh.windows < preset.confirm_windows:
        reason = f"fresh window {fresh.windows} of {preset.confirm_windows}: {fresh.mean:.3f}"
        return done(Verdict.WATCH, reason, replace(state, fresh=fresh))
    z = excess_z(state.baseline, fresh, preset)
    if z > preset.confirm_z:
        reason = f"{fresh.mean:.3f} on fresh answers, {state.baseline.mean:.3f} in the baseline, z = {z:.1f}"
        after = replace(state, cusum=0.0, alarm="", fresh=fresh, hold=preset.cool_down)
        return done(Verdict.DEGRADED, reason, after, act=True)
    reason = f"the alarm of {state.alarm} was not confirmed: {fresh.mean:.3f} on fresh answers, z = {z:.1f}"
    return done(Verdict.HEALTHY, reason, replace(state, cusum=0.0, alarm="", fresh=Pool()))


def excess_z(baseline: Pool, fresh: Pool, preset: Preset) -> float:
    """How many standard errors the fresh answers lie below baseline − margin; errors of both, and of days, are in."""
    between = max(preset.day_sd**2 / preset.days, baseline.between(preset.day_confidence))
    error = (
        fresh.variance / fresh.n + baseline.variance / baseline.n + between * (1 / fresh.windows + 1 / baseline.windows)
    )
    return (baseline.mean - preset.confirm_margin - fresh.mean) / math.sqrt(error)


def is_complete(baseline: Pool, preset: Preset) -> bool:
    """Whether the baseline is made; it is not touched afterwards."""
    return baseline.n >= preset.baseline and baseline.windows >= preset.baseline_windows


def _evidence(baseline: Pool, window: Window, preset: Preset) -> float:
    """Log quasi-likelihood ratio of the window's scores, dropped against not (Wedderburn 1974).

    It is a coin's likelihood ratio, divided by how much more windows vary than tosses of a coin: more than 1 where
    days differ by more than chance, less than 1 where scores are graded and lie close together.
    """
    good = min(baseline.mean - preset.slack, 0.99)
    if good <= 0.02:
        return 0.0  # nothing is left to fall
    bad = max(good - preset.drop + preset.slack, good / 2)
    ratio = window.total * math.log(bad / good) + (window.n - window.total) * math.log((1 - bad) / (1 - good))
    variance = baseline.variance + window.n * baseline.between(preset.day_confidence)
    return ratio * baseline.coin_variance / variance


def chi_squared(p: float, freedom: int) -> float:
    """Quantile of the chi-squared distribution (Wilson & Hilferty 1931)."""
    share = 2 / (9 * freedom)
    return freedom * (1 - share + NormalDist().inv_cdf(p) * math.sqrt(share)) ** 3
