# SPDX-License-Identifier: Apache-2.0
"""What on-call sees: metrics and the account after calls of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from dspy import lm15

from slipway_server.config import load_settings
from slipway_server.lm import stack as stack_module
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.pacing.share import SharePacer
from slipway_server.lm.retries import RetryConfig
from slipway_server.lm.stack import open_stack
from slipway_server.request import TrafficClass
from slipway_server.telemetry.metrics import REGISTRY

Virtual = Callable[[Callable[[], Any]], Any]
MODEL = {"model": "test/m"}
CLASS = {"class": "interactive"}


class Delta:
    """Samples since it was made."""

    def __init__(self) -> None:
        self._before = self._samples()

    @staticmethod
    def _samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return self._samples().get(key, 0.0) - self._before.get(key, 0.0)


def test_attempts_tokens_cost_and_waits(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        seen = Delta()
        errors = [lm15.RateLimitError("x", status=429, retry_after=2.0), lm15.ServerError("x"), None]
        it = bench(scripted(errors), prices=(2.0, 10.0))
        await it.ask()
        account = it.contexts[0].account
        assert (account.attempts, account.prompt_tokens, account.completion_tokens) == (3, 10, 5)
        assert account.cost_usd == pytest.approx((10 * 2 + 5 * 10) / 1e6)
        for outcome in ("rate_limited", "server", "ok"):
            assert seen("slipway_lm_attempts_total", **MODEL, **CLASS, outcome=outcome) == 1
        assert seen("slipway_lm_calls_total", **MODEL, **CLASS, result="ok") == 1
        assert seen("slipway_lm_retry_after_seconds_sum", **MODEL) == 2.0
        assert seen("slipway_lm_retry_delay_seconds_sum", **MODEL) == pytest.approx(account.waits_seconds["retry"])
        assert seen("slipway_lm_attempt_duration_seconds_sum", **MODEL) == pytest.approx(1.0)
        assert seen("slipway_lm_call_duration_seconds_sum", **MODEL) == pytest.approx(it.loop.time() - 1000.0)
        assert seen("slipway_lm_tokens_total", **MODEL, kind="prompt") == 10
        assert seen("slipway_lm_tokens_total", **MODEL, kind="completion") == 5
        assert seen("slipway_lm_cost_usd_total", **MODEL) == pytest.approx(account.cost_usd)
        assert seen("slipway_lm_queue_wait_seconds_count", **CLASS) == 3
        it.governor.refresh()
        assert REGISTRY.get_sample_value("slipway_lm_retry_amplification") == pytest.approx(3.0)
        assert REGISTRY.get_sample_value("slipway_lm_retry_budget_left") == pytest.approx(8.1)

    virtual(main)


def test_waits_by_reason_sheds_and_gauges(virtual: Virtual, bench: Any, scripted: Any) -> None:
    async def main() -> None:
        seen = Delta()
        pacer = SharePacer({"requests": 60.0}, now=asyncio.get_running_loop().time)
        it = bench(scripted(seconds=5.0), pacer, max_concurrency=1, queue_cap_seconds=60.0)
        tasks = [asyncio.create_task(it.ask()) for _ in range(3)]
        await asyncio.sleep(0.5)
        it.governor.refresh()
        assert REGISTRY.get_sample_value("slipway_lm_in_flight", MODEL) == 1
        assert REGISTRY.get_sample_value("slipway_lm_waiting", CLASS) == 2
        assert REGISTRY.get_sample_value("slipway_lm_slot_wait_seconds", CLASS) == 0, "quota would not let it go"
        await asyncio.sleep(1.5)
        it.governor.refresh()
        assert REGISTRY.get_sample_value("slipway_lm_slot_wait_seconds", CLASS) == pytest.approx(2.0)
        assert REGISTRY.get_sample_value("slipway_lm_pacing_requests_per_second", CLASS) == 1
        assert REGISTRY.get_sample_value("slipway_lm_pacing_info", {"kind": "share"}) == 1
        await asyncio.gather(*tasks)
        reasons = ("queue", "slot", "pacing")
        waited = {reason: seen("slipway_lm_waited_seconds_total", **CLASS, reason=reason) for reason in reasons}
        assert waited == pytest.approx({"queue": 5.0, "slot": 10.0, "pacing": 0.0})
        assert it.contexts[1].account.waits_seconds == {"slot": 5.0}
        with pytest.raises(lm15.LM15Error):
            await it.ask(deadline=0.0)
        it.backend.errors[:] = [lm15.ServerError("x")] * 10
        failing = bench(it.backend, retries=RetryConfig(max_attempts=1))
        for _ in range(11):
            with pytest.raises(lm15.LM15Error):
                await failing.ask(cls=TrafficClass.BATCH)
        failing.governor.refresh()
        assert seen("slipway_lm_sheds_total", **CLASS, reason="deadline") == 1
        assert seen("slipway_lm_sheds_total", **{"class": "batch"}, reason="circuit") == 1
        assert REGISTRY.get_sample_value("slipway_lm_circuit_open") == 1

    virtual(main)


async def test_pods_are_followed_and_a_failed_look_up_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([3, 5, None, None])
    pods: list[int] = []

    async def count(name: str) -> int | None:
        assert name == "slipway-headless"
        return next(answers, None)

    monkeypatch.setattr(stack_module, "count_peers", count)
    monkeypatch.setattr(stack_module, "PEERS_SECONDS", 0.001)
    settings = load_settings(
        {"lm_model": "openai/m", "lm_pacing": "share", "lm_rpm": 600, "lm_peers_dns": "slipway-headless"}, environ={}
    )
    stack = await open_stack(settings, owner=OwnerLoop.of_running_loop())
    assert stack.governor.pacer.facts().requests_per_second[TrafficClass.BATCH] == pytest.approx(10 / 3)
    while len(pods) < 20:
        await asyncio.sleep(0.002)
        pods.append(int(REGISTRY.get_sample_value("slipway_lm_pods_seen") or 0))
    assert pods[-1] == 5
    assert stack.governor.pacer.facts().requests_per_second[TrafficClass.BATCH] == 2.0
    await stack.aclose()
