# SPDX-License-Identifier: Apache-2.0
"""The gate: better beyond chance, or not at all; it says what it could have seen and what it needs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.improve.gate import GateVerdict, detectable, gate, needed


def pair(both: int, better: int, worse: int, neither: int) -> tuple[list[float], list[float]]:
    """Incumbent and candidate by what became of the examples."""
    incumbent = [1.0] * both + [0.0] * better + [1.0] * worse + [0.0] * neither
    candidate = [1.0] * both + [1.0] * better + [0.0] * worse + [0.0] * neither
    return incumbent, candidate


def test_better_beyond_chance_passes() -> None:
    result = gate(*pair(200, 40, 15, 45))
    assert result.verdict is GateVerdict.PASS
    assert result.p == pytest.approx(0.000504, rel=0.01)  # P(X >= 40), X ~ Bin(55, 1/2)
    assert result.comparison.difference == pytest.approx(25 / 300)
    assert result.path == "normal"


def test_a_higher_score_alone_does_not_pass() -> None:
    result = gate(*pair(225, 18, 12, 45))
    assert result.verdict is GateVerdict.INCONCLUSIVE
    assert result.needs > 0
    assert f"needs {result.needs} more" in result.words


@pytest.mark.parametrize(("better", "worse"), [(10, 10), (5, 25), (0, 0)])
def test_no_better_fails(better: int, worse: int) -> None:
    assert gate(*pair(200, better, worse, 50)).verdict is GateVerdict.FAIL


def test_too_few_examples_decide_nothing() -> None:
    result = gate(*pair(0, 20, 0, 0))
    assert (result.verdict, result.needs) == (GateVerdict.INCONCLUSIVE, 10)
    assert gate([], []).verdict is GateVerdict.INCONCLUSIVE


def test_a_slice_that_suffers_is_a_veto() -> None:
    good, bad = pair(100, 60, 5, 20), pair(20, 0, 12, 8)
    incumbent, candidate = good[0] + bad[0], good[1] + bad[1]
    slices = ["en"] * len(good[0]) + ["de"] * len(bad[0])
    assert gate(incumbent, candidate).verdict is GateVerdict.PASS
    result = gate(incumbent, candidate, slices)
    assert (result.verdict, result.vetoed) == (GateVerdict.FAIL, ["de"])
    tiny = pair(0, 0, 5, 0)
    slices = ["en"] * len(good[0]) + ["fr"] * 5
    assert gate(good[0] + tiny[0], good[1] + tiny[1], slices).verdict is GateVerdict.PASS


def test_the_emergency_path_passes_what_is_no_worse_and_says_its_name() -> None:
    same = pair(250, 6, 6, 38)
    assert gate(*same).verdict is GateVerdict.FAIL
    result = gate(*same, emergency=True)
    assert (result.verdict, result.path) == (GateVerdict.PASS, "emergency (non-inferiority)")
    assert gate(*pair(250, 0, 20, 30), emergency=True).verdict is GateVerdict.FAIL
    unsure = gate(*pair(50, 6, 6, 38), emergency=True)
    assert unsure.verdict is GateVerdict.INCONCLUSIVE
    assert unsure.needs > 0


def test_held_out_sizes_are_those_of_mcnemars_test() -> None:
    """resilience: 80 % power, one-sided 5 %: +5 points with d = .2 take 493 pairs, with d = .1 246; +2 take 3,091."""
    assert needed(0.05, 0.2) == pytest.approx(493, abs=2)
    assert needed(0.05, 0.1) == pytest.approx(246, abs=2)
    assert needed(0.02, 0.2) == pytest.approx(3091, abs=3)
    assert detectable(493, 0.2) == pytest.approx(0.05, abs=0.001)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=80), st.booleans())
def test_any_scores_get_a_verdict(pairs: list[tuple[float, float]], emergency: bool) -> None:
    incumbent, candidate = [a for a, _ in pairs], [b for _, b in pairs]
    result = gate(incumbent, candidate, ["x"] * len(pairs), emergency=emergency)
    assert (result.needs > 0) == (result.verdict is GateVerdict.INCONCLUSIVE)
    if result.verdict is GateVerdict.PASS and not emergency:
        assert result.comparison.difference > 0
        assert gate(candidate, incumbent).verdict is not GateVerdict.PASS
