# SPDX-License-Identifier: Apache-2.0
"""The production gate and pacer against a provider's quota in virtual time: the figures that Slipway promises."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest

from slipway_server.lm.pacing.priced import PricedConfig
from slipway_server.request import TrafficClass


@pytest.mark.parametrize("provider", ["TB600", "TB60", "TB60r", "TPM"])
@pytest.mark.parametrize(
    ("load", "pods"),
    [(load, pods) for load in ("even", "skew60", "near") for pods in (1, 4, 8, 16)] + [("joinleave", 0)],
)
def test_pods_that_know_nothing_of_each_other_use_the_quota(
    pacing: ModuleType, provider: str, load: str, pods: int
) -> None:
    run = pacing.World(pacing.scenario(provider, load, pods)).run()
    assert run.goodput >= 0.97
    assert run.rejected_ratio < 0.01
    assert run.amplification <= 1.02
    assert run.failed == 0


def test_a_bucket_of_one_second(pacing: ModuleType) -> None:
    for load in ("even", "near"):
        run = pacing.World(pacing.scenario("TB10", load, 4)).run()
        assert run.goodput >= 0.97
        assert run.rejected_ratio < 0.01


@pytest.mark.parametrize("provider", ["TB60", "TB60r"])
def test_pods_that_come_and_go_without_anybody_knowing(pacing: ModuleType, provider: str) -> None:
    """Every minute another number, always believed to be 4, at a provider so quick that a step is felt at once."""
    steps = tuple((60.0 * minute, pods) for minute, pods in enumerate((4, 8, 2, 12, 3, 9, 4)))
    usual = pacing.scenario(provider, "joinleave", 0, pods_believed=4, latency_seconds=0.4, latency_spread=0.1)
    run = pacing.World(replace(usual, steps=steps, offered=3.0, network_seconds=0.01)).run()
    assert run.goodput >= 0.97
    assert run.rejected_ratio < 0.005


@pytest.mark.parametrize("pods", [1, 16])
def test_a_wrong_number_of_pods_costs_little(pacing: ModuleType, pods: int) -> None:
    run = pacing.World(pacing.scenario("TB60", "even", pods, pods_believed=4)).run()
    assert run.goodput >= 0.97
    assert run.rejected_ratio < 0.01


def test_a_bucket_smaller_than_configured_is_noticed(pacing: ModuleType) -> None:
    run = pacing.World(pacing.scenario("TB60", "skew60", 8), PricedConfig(burst_seconds=60.0)).run()
    assert run.goodput >= 0.97
    assert run.rejected_ratio < 0.01


def test_without_retry_after(pacing: ModuleType) -> None:
    run = pacing.World(pacing.scenario("TB60", "joinleave", 0, retry_after=False)).run()
    assert run.goodput >= 0.97
    assert run.rejected_ratio < 0.01


@pytest.mark.parametrize(("provider", "p95"), [("TB600", 1.0), ("TB60", 3.0), ("TPM", 1.0)])
@pytest.mark.parametrize("pods", [1, 4, 8])
def test_interactive_calls_wait_little_while_batch_takes_the_rest(
    pacing: ModuleType, provider: str, p95: float, pods: int
) -> None:
    run = pacing.World(pacing.scenario(provider, "classes", pods, seconds=480.0)).run()
    assert run.goodput >= 0.97
    assert run.rejected_ratio <= 0.015
    assert run.wait(0.95) < p95
    assert run.by_class[TrafficClass.BATCH] > 0.2 * run.permitted


def test_evaluation_takes_what_batch_leaves(pacing: ModuleType) -> None:
    classes = (TrafficClass.BATCH, TrafficClass.EVALUATION)
    run = pacing.World(replace(pacing.scenario("TB60", "even", 4, seconds=480.0), background=classes)).run()
    assert run.by_class[TrafficClass.BATCH] > 3 * run.by_class[TrafficClass.EVALUATION] > 0
