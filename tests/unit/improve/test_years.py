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


@pytest.mark.parametrize(("preset", "years"), [(DAILY, 300), (WEEKLY, 600)])
def test_nothing_is_recompiled_for_nothing(bench: ModuleType, preset: Preset, years: int) -> None:
    assert bench.false_recompiles(bench.World(), preset, years) <= 0.05


def test_weekends_are_no_reason_to_recompile(bench: ModuleType) -> None:
    assert bench.false_recompiles(bench.World(weekend=-0.03), DAILY, 300) <= 0.05


def test_restless_days_cost_more_than_is_promised_and_no_more_than_is_said(bench: ModuleType) -> None:
    assert 0.02 < bench.false_recompiles(bench.World(day_sd=0.04), DAILY, 300) <= 0.15


def test_ten_points_are_found_within_a_week(bench: ModuleType) -> None:
    assert statistics.median(bench.delays(bench.with_drop(10, DAILY), DAILY, 200)) <= 7


def test_graded_scores_raise_no_more_false_alarms_but_take_days_longer(bench: ModuleType) -> None:
    assert bench.false_recompiles(bench.World(graded=bench.GRADED), DAILY, 150) <= 0.05
    assert 7 < statistics.median(bench.delays(bench.with_drop(10, DAILY, bench.GRADED), DAILY, 150)) <= 12


def test_ten_points_are_found_by_the_weekly_preset_within_two(bench: ModuleType) -> None:
    assert statistics.median(bench.delays(bench.with_drop(10, WEEKLY), WEEKLY, 200)) <= 14


def test_what_people_do_instead_would_recompile_every_week(bench: ModuleType) -> None:
    assert bench.naive_alarms(bench.World(), bench.naive_mean, 5) > 20


def test_the_gate_lets_hardly_anything_worse_through(bench: ModuleType) -> None:
    tallies = bench.races(bench.Race(mean_gain=-0.02, held_out=300), 300)
    assert tallies["gate"].worse > 100
    assert tallies["gate"].error <= 0.02
    assert tallies["higher validation score"].error > 0.5
    assert tallies["gate, emergency"].error <= 0.10
