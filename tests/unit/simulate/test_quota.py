# SPDX-License-Identifier: Apache-2.0
"""Quotas on a clock of the test's own."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.simulate.quota import KeyQuota, QuotaConfig, QuotaKind


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def burst(quota: KeyQuota, count: int, tokens: float = 0.0) -> int:
    return sum(quota.admit(tokens).admitted for _ in range(count))


def test_a_bucket_holds_its_burst_and_refills_with_the_rate(clock: FakeClock) -> None:
    quota = KeyQuota(QuotaConfig(requests_per_minute=60, burst_seconds=10), clock)
    assert burst(quota, 15) == 10
    verdict = quota.admit()
    assert (verdict.exceeded, verdict.wait_seconds) == ("requests", pytest.approx(1.0))
    assert verdict.levels["requests"].remaining == 0
    assert verdict.levels["requests"].reset_seconds == pytest.approx(10.0)
    clock.now += 2.5
    assert burst(quota, 15) == 2


def test_headers_match_the_sample_of_a_one_minute_bucket(clock: FakeClock) -> None:
    quota = KeyQuota(QuotaConfig(requests_per_minute=5000, tokens_per_minute=160_000), clock)
    levels = quota.admit(tokens=24).levels
    assert (levels["requests"].remaining, levels["tokens"].remaining) == (4999, 159_976)
    assert levels["requests"].reset_seconds == pytest.approx(0.012)
    assert levels["tokens"].reset_seconds == pytest.approx(0.009)


def test_a_sliding_window_counts_the_last_minute(clock: FakeClock) -> None:
    quota = KeyQuota(QuotaConfig(requests_per_minute=10, kind="sliding"), clock)
    assert burst(quota, 6) == 6
    clock.now += 30
    assert burst(quota, 6) == 4
    assert quota.admit().wait_seconds == pytest.approx(30)
    clock.now += 30
    assert burst(quota, 10) == 6


def test_a_fixed_window_starts_anew(clock: FakeClock) -> None:
    clock.now = 1070.0
    quota = KeyQuota(QuotaConfig(requests_per_minute=10, kind="fixed"), clock)
    assert burst(quota, 12) == 10
    assert quota.admit().wait_seconds == pytest.approx(10.0)
    clock.now += 10
    assert burst(quota, 12) == 10


@pytest.mark.parametrize("kind", ["bucket", "sliding", "fixed"])
def test_tokens_limit_as_well_and_a_rejected_request_costs_nothing(clock: FakeClock, kind: QuotaKind) -> None:
    quota = KeyQuota(QuotaConfig(requests_per_minute=100, tokens_per_minute=1000, kind=kind), clock)
    assert burst(quota, 3, tokens=400) == 2
    verdict = quota.admit(tokens=400)
    assert (verdict.admitted, verdict.exceeded) == (False, "tokens")
    assert verdict.levels["requests"].remaining == 98
    assert quota.admit(tokens=200).admitted


@pytest.mark.parametrize("kind", ["bucket", "sliding", "fixed"])
def test_more_than_the_whole_quota_never_fits(clock: FakeClock, kind: QuotaKind) -> None:
    quota = KeyQuota(QuotaConfig(tokens_per_minute=1000, kind=kind), clock)
    assert quota.admit(tokens=1001).wait_seconds == math.inf


@pytest.mark.parametrize("kind", ["bucket", "sliding"])
def test_charged_rejects_starve_a_client_that_keeps_asking(clock: FakeClock, kind: QuotaKind) -> None:
    config = QuotaConfig(requests_per_minute=60, kind=kind, burst_seconds=6, window_seconds=6, rejects_charged=True)
    quota = KeyQuota(config, clock)
    served = 0
    for _ in range(600):
        served += quota.admit().admitted
        clock.now += 0.1
    assert served < 12


@pytest.mark.parametrize("kind", ["bucket", "sliding", "fixed"])
def test_what_an_answer_used_is_charged_and_what_it_did_not_is_given_back(clock: FakeClock, kind: QuotaKind) -> None:
    quota = KeyQuota(QuotaConfig(tokens_per_minute=1000, kind=kind), clock)
    assert quota.admit(tokens=900).admitted
    quota.charge_tokens(-500)
    assert quota.levels()["tokens"].remaining == pytest.approx(600)
    quota.charge_tokens(600)
    assert not quota.admit(tokens=100).admitted


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(["bucket", "sliding", "fixed"]),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 20)), max_size=60),
)
def test_no_more_than_the_quota_passes_and_waits_are_honest(kind: QuotaKind, steps: list[tuple[float, int]]) -> None:
    clock = FakeClock()
    quota = KeyQuota(QuotaConfig(tokens_per_minute=600, kind=kind, burst_seconds=6, window_seconds=6), clock)
    passed: list[tuple[float, int]] = []
    for pause, tokens in steps:
        clock.now += pause
        verdict = quota.admit(tokens)
        if verdict.admitted:
            passed.append((clock.now, tokens))
            continue
        clock.now += verdict.wait_seconds + 1e-6
        assert quota.admit(tokens).admitted
        passed.append((clock.now, tokens))
    for start, _ in passed:
        within = sum(tokens for at, tokens in passed if start <= at < start + 6)
        assert within <= (60 if kind == "sliding" else 120) + 1e-6
