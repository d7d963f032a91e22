# SPDX-License-Identifier: Apache-2.0
"""The governor's metrics and the part of a request's account that it fills. Units and names: telemetry/metrics.py."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from slipway_server.errors import LONGEST_ADVICE_SECONDS
from slipway_server.lm.gate import Gate
from slipway_server.lm.pacing.types import Need, Pacer
from slipway_server.request import Account, TrafficClass
from slipway_server.telemetry import metrics

LONG_WAIT_SECONDS = 0.5
"""A longer wait is logged as an event of its own, for `slipway why`; what is as usual only at level debug."""

log = logging.getLogger(__name__)

MEMORY_SECONDS = 300.0
"""Time constant of the amplification gauge."""


@cache
def _child(metric: Any, *labels: str) -> Any:
    return metric.labels(*labels)


class Meters:
    """Counts one model's calls. `prices`: US dollars per million prompt and completion tokens, None where unknown."""

    def __init__(self, model: str, prices: tuple[float, float] | None) -> None:
        self._model = model
        self._prices = prices
        self._attempts = 0.0
        self._successes = 0.0
        self._faded_at = 0.0

    def waited(self, account: Account, cls: TrafficClass, waits: Mapping[str, float]) -> None:
        """An attempt got through the gate."""
        _child(metrics.LM_QUEUE_WAIT, cls).observe(sum(waits.values()))
        for reason, seconds in waits.items():
            account.waits_seconds[reason] += seconds
            _child(metrics.LM_WAITED, cls, reason).inc(seconds)
        if waits:
            long = sum(waits.values()) >= LONG_WAIT_SECONDS
            _event(long, "lm wait", cls, **{reason: round(seconds, 4) for reason, seconds in waits.items()})

    def attempted(self, account: Account, cls: TrafficClass, outcome: str, seconds: float) -> None:
        """An attempt ended after so many seconds in flight."""
        self._attempts += 1
        _child(metrics.LM_ATTEMPTS, self._model, cls, outcome).inc()
        if outcome == "ok":
            _child(metrics.LM_ATTEMPT_DURATION, self._model).observe(seconds)
        account.spent_seconds["lm"] += seconds
        _event(outcome != "ok", "lm attempt", cls, outcome=outcome, seconds=round(seconds, 4))

    def used(self, account: Account, used: Need | None) -> None:
        """What a successful attempt took."""
        self._successes += 1
        if used is None:
            return
        account.prompt_tokens += int(used.input_tokens)
        account.completion_tokens += int(used.output_tokens)
        _child(metrics.LM_TOKENS, self._model, "prompt").inc(used.input_tokens)
        _child(metrics.LM_TOKENS, self._model, "completion").inc(used.output_tokens)
        if self._prices is not None:
            cost = (used.input_tokens * self._prices[0] + used.output_tokens * self._prices[1]) / 1e6
            account.cost_usd = (account.cost_usd or 0.0) + cost
            _child(metrics.LM_COST, self._model).inc(cost)

    def retrying(self, account: Account, seconds: float) -> None:
        """A pause before the next attempt."""
        account.waits_seconds["retry"] += seconds
        _child(metrics.LM_RETRY_DELAY, self._model).observe(seconds)
        log.info("lm pause", extra={"seconds": round(seconds, 4)})

    def advised(self, retry_after: float | None) -> None:
        """The provider sent a Retry-After."""
        if retry_after is not None:
            # An absurd one must not drown the histogram's sum.
            _child(metrics.LM_RETRY_AFTER, self._model).observe(min(retry_after, LONGEST_ADVICE_SECONDS))

    def shed(self, cls: TrafficClass, reason: str) -> None:
        """A call was refused without an attempt."""
        _child(metrics.LM_SHEDS, cls, reason).inc()
        _event(True, "lm refused", cls, reason=reason)

    def called(self, cls: TrafficClass, result: str, seconds: float) -> None:
        """A call ended: ok, refused or failed."""
        _child(metrics.LM_CALLS, self._model, cls, result).inc()
        _child(metrics.LM_CALL_DURATION, self._model).observe(seconds)

    def refresh(self, now: float, pacer: Pacer, gate: Gate) -> None:
        """The gauges that follow the pacer's and the gate's state; call about once a second."""
        fade = math.exp(-max(0.0, now - self._faded_at) / MEMORY_SECONDS) if self._faded_at else 1.0
        self._attempts, self._successes, self._faded_at = self._attempts * fade, self._successes * fade, now
        if self._successes >= 1.0:
            metrics.LM_AMPLIFICATION.set(self._attempts / self._successes)
        facts = pacer.facts()
        for kind in ("off", "fixed", "priced", "share"):
            metrics.LM_PACING_INFO.labels(kind).set(kind == pacer.kind)
        for cls, rate in facts.requests_per_second.items():
            metrics.LM_PACING_RATE.labels(cls).set(rate)
        for dimension, ratio in facts.remaining_ratio.items():
            metrics.LM_REMAINING.labels(dimension).set(ratio)
        if facts.staleness_seconds is not None:
            metrics.LM_STALENESS.set(facts.staleness_seconds)
        metrics.LM_IN_FLIGHT.labels(self._model).set(gate.in_flight)
        for cls in TrafficClass:
            metrics.LM_WAITING.labels(cls).set(gate.waiting(cls))
            metrics.LM_SLOT_WAIT.labels(cls).set(gate.slot_wait(cls))


def _event(unusual: bool, name: str, cls: TrafficClass, **fields: object) -> None:
    """One step of a call, for `slipway why`."""
    level = logging.INFO if unusual else logging.DEBUG
    if log.isEnabledFor(level):
        log.log(level, name, extra={"class": cls.value, **fields})
