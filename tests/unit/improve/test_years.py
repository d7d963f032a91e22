# SPDX-License-Identifier: Apache-2.0
"""Simulated years with the production decision and gate: the error rates that docs/loop.md promises. Seeded."""

from __future__ import annotations

import importlib.util
import statistics
import sys
from pathlib import Path
from types import ModuleType

import pytest

from slipway_server.improve.decide import DAILY, WEEKLY, Preset

BENCH = Path(__file__).parents[3] / "bench" / "trigger.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_trigger", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


YEARS = {"daily": 250, "weekly": 500}
GRADED = 4.0


@pytest.mark.parametrize("graded", [0.0, GRADED], ids=["passes", "graded"])
@pytest.mark.parametrize("preset", [DAILY, WEEKLY], ids=lambda preset: preset.name)
class TestAPreset:
    """Scores of 0 and 1, and scores between."""

    @pytest.mark.parametrize(
        "world",
        [
            pytest.param({}, id="as assumed"),
            pytest.param({"weekend": -0.03}, id="weekends", marks=pytest.mark.long),
            pytest.param({"day_sd": 0.04}, id="restless days", marks=pytest.mark.long),
        ],
    )
    def test_recompiles_nothing_for_nothing(
        self, bench: ModuleType, preset: Preset, graded: float, world: dict[str, float]
    ) -> None:
        rate = bench.false_recompiles(bench.World(graded=graded, **world), preset, YEARS[preset.name])
        assert rate <= 0.05

    def test_finds_ten_points_within_a_week_or_two(self, bench: ModuleType, preset: Preset, graded: float) -> None:
        days = bench.delays(bench.with_drop(10, preset, graded=graded), preset, 200)
        assert statistics.median(days) <= 7 * (1 if preset is DAILY else 2)


def test_graded_scores_are_found_to_have_dropped_sooner(bench: ModuleType) -> None:
    passes, graded = (
        statistics.median(bench.delays(bench.with_drop(10, DAILY, graded=kind), DAILY, 100)) for kind in (0.0, GRADED)
    )
    assert graded < passes


def test_what_people_do_instead_would_recompile_every_week(bench: ModuleType) -> None:
    assert bench.naive_alarms(bench.World(), bench.naive_mean, 5) > 20


def test_the_gate_lets_hardly_anything_worse_through(bench: ModuleType) -> None:
    tallies = bench.races(bench.Race(mean_gain=-0.02, held_out=300), 300)
    assert tallies["gate"].worse > 100
    assert tallies["gate"].error <= 0.02
    assert tallies["higher validation score"].error > 0.5
    assert tallies["gate, emergency"].error <= 0.10
