# SPDX-License-Identifier: Apache-2.0
"""A failing candidate is out within 30 bad answers; a healthy one stays, with the stated error rate."""

from __future__ import annotations

import random

import pytest

from slipway_server.runtime.guard import Guard, GuardConfig


def bad_answers_until_removed(
    seed: int, *, stable: float, candidate: float, answers: int, slower: float = 1.0
) -> int | None:
    """The candidate's failures before its verdict, or None where it stays for `answers` (10 % of them its own)."""
    chance = random.Random(seed)
    guard, bad = Guard(GuardConfig()), 0
    for _ in range(answers):
        is_candidate = chance.random() < 0.1
        failed = chance.random() < (candidate if is_candidate else stable)
        latency = chance.lognormvariate(0, 0.5) * (slower if is_candidate else 1)
        bad += failed and is_candidate
        guard.observe(candidate=is_candidate, failed=failed, latency_seconds=latency)
        if guard.verdict:
            return bad
    return None


def removed_share(runs: int, **rates: float) -> float:
    outcomes = [bad_answers_until_removed(seed, answers=600, **rates) for seed in range(runs)]
    return sum(outcome is not None for outcome in outcomes) / runs


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.2])
def test_a_healthy_candidate_stays(rate: float) -> None:
    assert removed_share(500, stable=rate, candidate=rate) <= 0.01


@pytest.mark.long
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.2])
def test_a_healthy_candidate_stays_in_ten_thousand_runs(rate: float) -> None:
    assert removed_share(10_000, stable=rate, candidate=rate) <= 0.01


@pytest.mark.parametrize(("stable", "candidate"), [(0.0, 1.0), (0.0, 0.5), (0.01, 0.3)])
def test_a_failing_candidate_is_out_within_thirty_bad_answers(stable: float, candidate: float) -> None:
    for seed in range(100):
        bad = bad_answers_until_removed(seed, stable=stable, candidate=candidate, answers=20_000)
        assert bad is not None
        assert bad <= 30


def test_a_much_slower_candidate_is_out_and_the_reason_says_so() -> None:
    guard = Guard(GuardConfig())
    for _ in range(60):
        guard.observe(candidate=False, failed=False, latency_seconds=1.0)
    for _ in range(60):
        guard.observe(candidate=True, failed=False, latency_seconds=5.0)
    assert guard.verdict is not None
    assert "slower than 2 times stable" in guard.verdict


def test_a_candidate_that_fails_with_stable_is_not_to_blame() -> None:
    guard = Guard(GuardConfig())
    for number in range(400):
        guard.observe(candidate=False, failed=True, latency_seconds=0)
        if number % 4 == 0:
            guard.observe(candidate=True, failed=True, latency_seconds=0)
    assert guard.verdict is None
    assert "100/100 failed" in repr(guard)


@pytest.mark.parametrize("every", [2, 10])
@pytest.mark.parametrize("healthy", [100, 20_000])
def test_a_long_good_record_does_not_hide_what_begins_after_it(healthy: int, every: int) -> None:
    guard, bad = Guard(GuardConfig()), 0
    for number in range(healthy):
        guard.observe(candidate=number % every == 0, failed=False, latency_seconds=1.0)
    while guard.verdict is None and bad < 31:
        bad += 1
        guard.observe(candidate=True, failed=True, latency_seconds=None)
        guard.observe(candidate=False, failed=False, latency_seconds=1.0)
    assert bad <= 30


@pytest.mark.parametrize("every", [2, 10])
@pytest.mark.parametrize(("failed", "latency"), [(True, None), (False, 8.0)])
def test_what_befalls_both_at_once_is_not_the_candidates_fault(every: int, failed: bool, latency: float | None) -> None:
    removed = 0
    for seed in range(40):
        chance, guard = random.Random(seed), Guard(GuardConfig())
        for number in range(4000):
            late = number > 2000
            guard.observe(
                candidate=chance.random() < 1 / every,
                failed=late and failed,
                latency_seconds=latency if late else chance.lognormvariate(0, 0.5),
            )
        removed += guard.verdict is not None
    assert removed <= 2, "at equal weights the candidate may have the first failures by chance"
