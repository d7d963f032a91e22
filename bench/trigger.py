# SPDX-License-Identifier: Apache-2.0
"""How often the loop recompiles for nothing, how soon it finds a real drop, and what its gate lets through.

    python bench/trigger.py                 # minutes; tables, and the plots of docs/loop.md
    python bench/trigger.py --years 100     # sooner

Simulated years with the production decision (improve/decide.py) and gate (improve/gate.py): live answers pass with a
true rate; a day effect moves each day's rate (normal, sd 0.02 unless said otherwise); the baseline is what the decision
judged itself. Seeded.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from slipway_server.improve.decide import DAILY, WEEKLY, Preset, State, Step, Window, step, wanted
from slipway_server.improve.gate import GateVerdict, gate

SEED = 20_261_121
YEAR_DAYS = 365
GIVE_UP_DAYS = 120
GRADED, NARROW = 4.0, 20.0
"""Of World.graded: at a mean of 0.85 scores have a standard deviation of 0.16, and of 0.08."""
RESTLESS = 0.04
"""Day effect, twice what is assumed."""
IMAGES = Path(__file__).parent.parent / "docs" / "img"


@dataclass(frozen=True)
class World:
    """True pass rate, its day effect, a weekend effect, and what a drop leaves from the day `drop_day` on.

    `graded`: scores are not 0 or 1 but beta distributed around the day's rate, with this sum of both parameters.
    """

    rate: float = 0.85
    day_sd: float = 0.02
    weekend: float = 0.0
    drop: float = 0.0
    drop_day: int = 0
    graded: float = 0.0


def day_rates(world: World, days: int, rng: np.random.Generator) -> np.ndarray:
    """True rate of each day."""
    rates = world.rate + rng.normal(0, world.day_sd, days)
    rates += np.where(np.arange(days) % 7 >= 5, world.weekend, 0)
    rates[world.drop_day :] -= world.drop
    return np.clip(rates, 0.01, 0.99)


def judged(name: str, rates: np.ndarray, n: int, rng: np.random.Generator, graded: float = 0.0) -> Window:
    """One window: n answers spread over its days."""
    if graded:
        each = np.repeat(rates, -(-n // len(rates)))
        scores = rng.beta(graded * each, graded * (1 - each))
        return Window(name, len(scores), float(scores.sum()), float((scores**2).sum()))
    passes = int(rng.binomial(-(-n // len(rates)), rates).sum())
    total = -(-n // len(rates)) * len(rates)
    return Window(name, total, passes, passes)


def live(world: World, preset: Preset, days: int, rng: np.random.Generator, *, stop: bool = False) -> list[Step]:
    """Every window's step over `days`; `stop` ends at the first recompilation."""
    rates, state, steps = day_rates(world, days, rng), State(), []
    for first in range(0, days - preset.days + 1, preset.days):
        window = judged(str(first), rates[first : first + preset.days], wanted(steps, preset), rng, world.graded)
        done = step(state, window, preset)
        steps.append(done)
        state = done.state
        if done.act and stop:
            break
    return steps


def false_recompiles(world: World, preset: Preset, years: int, seed: int = SEED) -> float:
    """Recompilations per year without any change."""
    rng = np.random.default_rng(seed)
    return sum(done.act for _ in range(years) for done in live(world, preset, YEAR_DAYS, rng)) / years


def delays(world: World, preset: Preset, runs: int, seed: int = SEED) -> list[int]:
    """Days from the drop to the recompilation, GIVE_UP_DAYS where it is not found; runs with a false one before count
    from the next."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(runs):
        steps = live(world, preset, world.drop_day + GIVE_UP_DAYS, rng)
        acts = [int(done.window.name) + preset.days for done in steps if done.act]
        found.append(next((day - world.drop_day for day in acts if day > world.drop_day), GIVE_UP_DAYS))
    return found


def with_drop(points: int, preset: Preset, **changes: float) -> World:
    """A drop two months after the baseline, in a world with these changes."""
    return World(drop=points / 100, drop_day=84 if preset.days == 7 else 70, **changes)


# ---- the gate


@dataclass(frozen=True)
class Race:
    """An optimizer's candidates: true gains over the incumbent are normal(mean_gain, 0.02); the best on `validation`
    answers is sent to the gate with `held_out` ones. `shared`: correlation of difficulty between programs."""

    mean_gain: float
    held_out: int
    candidates: int = 10
    validation: int = 100
    incumbent: float = 0.80
    shared: float = 0.7


def winner(race: Race, rng: np.random.Generator) -> tuple[float, bool, np.ndarray, np.ndarray]:
    """The winner's true gain, whether its validation score is above the incumbent's, and both held-out answers."""
    rates = np.clip(race.incumbent + rng.normal(race.mean_gain, 0.02, race.candidates), 0.3, 0.97)

    def answers(rate: float, difficulty: np.ndarray) -> np.ndarray:
        noise = rng.normal(size=len(difficulty))
        latent = np.sqrt(race.shared) * difficulty + np.sqrt(1 - race.shared) * noise
        return latent < statistics.NormalDist().inv_cdf(rate)

    seen, unseen = rng.normal(size=race.validation), rng.normal(size=race.held_out)
    before = answers(race.incumbent, seen).mean()
    scores = [answers(rate, seen).mean() for rate in rates]
    best = int(np.argmax(scores))
    return (
        float(rates[best] - race.incumbent),
        bool(scores[best] > before),
        answers(race.incumbent, unseen),
        answers(float(rates[best]), unseen),
    )


@dataclass
class Tally:
    """How often winners that are truly worse (by more than a point), or truly better (by more than three), pass."""

    worse: int = 0
    worse_passed: int = 0
    better: int = 0
    better_passed: int = 0

    def count(self, gain: float, passed: bool) -> None:
        self.worse += gain < -0.01
        self.worse_passed += passed and gain < -0.01
        self.better += gain > 0.03
        self.better_passed += passed and gain > 0.03

    @property
    def error(self) -> float:
        """Share of the truly worse that pass."""
        return self.worse_passed / max(1, self.worse)

    @property
    def power(self) -> float:
        """Share of the truly better that pass."""
        return self.better_passed / max(1, self.better)


RULES = ("higher validation score", "higher held-out score", "gate", "gate, emergency")


def races(race: Race, runs: int, seed: int = SEED) -> dict[str, Tally]:
    """Every rule over the same races."""
    rng = np.random.default_rng(seed)
    tallies = {rule: Tally() for rule in RULES}
    for _ in range(runs):
        gain, higher, incumbent, candidate = winner(race, rng)
        first, second = incumbent.astype(float).tolist(), candidate.astype(float).tolist()
        passed = {
            "higher validation score": higher,
            "higher held-out score": sum(second) > sum(first),
            "gate": gate(first, second).verdict is GateVerdict.PASS,
            "gate, emergency": gate(first, second, emergency=True).verdict is GateVerdict.PASS,
        }
        for rule, done in passed.items():
            tallies[rule].count(gain, done)
    return tallies


# ---- what people do instead


def naive_mean(window: Window, baseline: float) -> bool:
    """Today's mean is five points below the baseline."""
    return window.mean < baseline - 0.05


def naive_test(window: Window, baseline: float) -> bool:
    """A z test of today's answers, 5 %."""
    return (baseline - window.mean) / (baseline * (1 - baseline) / window.n) ** 0.5 > 1.645


def naive_alarms(world: World, rule: Callable[[Window, float], bool], years: int, seed: int = SEED) -> float:
    """Alarms per year without any change; the baseline is 300 answers of a test set."""
    rng, alarms = np.random.default_rng(seed), 0
    for _ in range(years):
        baseline = rng.binomial(300, world.rate) / 300
        rates = day_rates(world, YEAR_DAYS, rng)
        alarms += sum(rule(judged("", rates[day : day + 1], 100, rng), baseline) for day in range(YEAR_DAYS))
    return alarms / years


# ---- the report

WORLDS = {
    "as assumed: rate 0.85, day effect sd 0.02": World(),
    "rate 0.60": World(rate=0.60),
    "rate 0.95": World(rate=0.95),
    "weekends 3 points lower": World(weekend=-0.03),
    "no day effect": World(day_sd=0.0),
    "day effect sd 0.04, twice what is assumed": World(day_sd=RESTLESS),
    "graded scores, sd 0.16": World(graded=GRADED),
    "graded scores, sd 0.16, weekends 3 points lower": World(graded=GRADED, weekend=-0.03),
    "graded scores, sd 0.16, day effect sd 0.04": World(graded=GRADED, day_sd=RESTLESS),
    "graded scores, sd 0.08, day effect sd 0.04": World(graded=NARROW, day_sd=RESTLESS),
}

OTHERWISE = {
    "graded scores": {"graded": GRADED},
    "day effect sd 0.04": {"day_sd": RESTLESS},
    "both": {"graded": GRADED, "day_sd": RESTLESS},
}
"""Worlds in which drops of 5 and 10 points are found, too."""


def typical(delay: float) -> list[Step]:
    """The first run that finds a drop of 10 points after this median of days, and nothing before."""
    world = with_drop(10, DAILY)
    runs = (live(world, DAILY, 190, np.random.default_rng(SEED + n), stop=True) for n in count())
    return next(run for run in runs if int(run[-1].window.name) + 1 - world.drop_day == int(delay))


def shares(days: list[int]) -> str:
    """Median, 90 % quantile and the share within 30 days, as cells."""
    share = sum(day <= 30 for day in days) / len(days)
    return f"{statistics.median(days):.0f} | {float(np.quantile(days, 0.9)):.0f} | {share:.0%}"


def tables(years: int, runs: int) -> dict[str, dict[int, list[int]]]:
    """Print every table; returns the delays by preset and drop."""
    print(f"\nRecompilations for nothing, per year ({years} simulated years each)\n")
    print("| world | daily | weekly |\n| --- | --- | --- |")
    for name, world in WORLDS.items():
        print(
            f"| {name} | {false_recompiles(world, DAILY, years):.3f} | {false_recompiles(world, WEEKLY, years):.3f} |"
        )
    print("\nInstead, 100 answers a day against a test set of 300: alarms per year\n")
    print("| rule | alarms per year |\n| --- | --- |")
    for rule in (naive_mean, naive_test):
        print(f"| {rule.__doc__} | {naive_alarms(World(), rule, max(20, years // 20)):.0f} |")
    print(f"\nDays from a drop to the recompilation ({runs} runs each; {GIVE_UP_DAYS} means later)\n")
    print("| preset | drop | median | 90 % | within 30 days |\n| --- | --- | --- | --- | --- |")
    found: dict[str, dict[int, list[int]]] = {}
    for preset in (DAILY, WEEKLY):
        for points in (3, 5, 7, 10, 15, 20):
            days = found.setdefault(preset.name, {})[points] = delays(with_drop(points, preset), preset, runs)
            print(f"| {preset.name} | {points} points | {shares(days)} |")
        for label, changes in OTHERWISE.items():
            for points in (5, 10):
                days = delays(with_drop(points, preset, **changes), preset, runs)
                print(f"| {preset.name}, {label} | {points} points | {shares(days)} |")
    price(years, runs)
    print(f"\nThe gate: best of 10 candidates by 100 validation answers ({2 * runs} races each)\n")
    print("| optimizer | held out | rule | passes though > 1 point worse | passes where > 3 points better |")
    print("| --- | --- | --- | --- | --- |")
    for mean_gain, label in ((-0.02, "does harm on average"), (0.02, "helps on average")):
        for held_out in (100, 300, 500, 1000):
            for rule, tally in races(Race(mean_gain, held_out), 2 * runs).items():
                error = f"{tally.error:.3f}" if tally.worse >= 50 else "–"
                power = f"{tally.power:.2f}" if tally.better >= 20 else "–"
                print(f"| {label} | {held_out} | {rule} | {error} | {power} |")
    return found


def price(years: int, runs: int) -> None:
    """What it costs and saves that `daily` takes the upper limit of how much days differ, not the estimate itself."""
    print("\nThe upper limit of the day effect, and the plain estimate instead\n")
    print("| daily | upper limit | plain estimate |\n| --- | --- | --- |")
    both = DAILY, replace(DAILY, day_confidence=0.0)
    for label, changes in OTHERWISE.items():
        rates = [f"{false_recompiles(World(**changes), preset, years):.3f}" for preset in both]
        print(f"| for nothing, per year: {label} | {' | '.join(rates)} |")
    for points in (5, 7, 10):
        days = [f"{statistics.median(delays(with_drop(points, preset), preset, runs)):.0f}" for preset in both]
        print(f"| days until {points} points are found, median | {' | '.join(days)} |")


def plots(found: dict[str, dict[int, list[int]]]) -> None:
    """Write the pictures of docs/loop.md."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.hashsalt": "slipway",
            "svg.fonttype": "none",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    import matplotlib.pyplot as plt

    IMAGES.mkdir(parents=True, exist_ok=True)
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 4.6), sharex=True)
    steps = typical(statistics.median(found[DAILY.name][10]))
    days = [int(done.window.name) for done in steps]
    above.plot(
        days, [done.window.mean for done in steps], ".", color="#345995", label="mean of the day's judged answers"
    )
    above.axhline(steps[-1].baseline, color="#888", lw=1, label="baseline")
    below.plot(days, [done.cusum for done in steps], color="#345995", drawstyle="steps-post")
    below.axhline(DAILY.threshold, color="#c0392b", lw=1, ls="--", label="threshold")
    for axis in (above, below):
        axis.axvline(70, color="#e09f3e", lw=1, label="10 points are lost here")
        axis.axvline(days[-1] + 1, color="#c0392b", lw=1, label="DEGRADED")
    above.set_ylabel("score")
    below.set_ylabel("CUSUM")
    below.set_xlabel("day since the artifact went live")
    named = {line.get_label(): line for axis in (above, below) for line in axis.lines if line.get_label()[0] != "_"}
    figure.legend(named.values(), named.keys(), loc="upper center", ncols=5, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(IMAGES / "loop-path.svg", metadata={"Date": None})
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
    for axis, preset in zip(axes, (DAILY, WEEKLY), strict=True):
        for points, colour in ((5, "#9db4c0"), (10, "#345995"), (15, "#0b2545")):
            ordered = sorted(found[preset.name][points])
            shares = np.arange(1, len(ordered) + 1) / len(ordered)
            axis.step([0, *ordered], [0, *shares], where="post", color=colour, label=f"{points} points")
        axis.set_xlim(0, 60)
        axis.set_title(preset.name, fontsize=9)
        axis.set_xlabel("days since the drop")
        axis.legend(loc="lower right", frameon=False)
    axes[0].set_ylabel("share of drops found")
    figure.tight_layout()
    figure.savefig(IMAGES / "loop-delay.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    plots(tables(options.years, options.runs))


if __name__ == "__main__":
    main()
