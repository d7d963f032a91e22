# SPDX-License-Identifier: Apache-2.0
"""A limit to what a recompilation may spend at the provider, by the governor's own counters.

budget = Budget(calls=5000, cost_usd=20.0)
budget.check()              # raises Stopped, which no optimizer swallows, when it is spent
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import Counter

from slipway_server.errors import CompileFailed
from slipway_server.improve.watch import Stopped
from slipway_server.telemetry import metrics


@dataclass
class Budget:
    """Limits from now on; None is no limit. The cost needs SLIPWAY_LM_PRICES."""

    calls: int | None = None
    cost_usd: float | None = None
    _calls_before: float = field(default_factory=lambda: _sum(metrics.LM_CALLS))
    _cost_before: float = field(default_factory=lambda: _sum(metrics.LM_COST))
    spent: str = ""
    """What ran out; empty while there is something left."""

    @property
    def calls_made(self) -> int:
        """LM calls that reached the governor since the budget began."""
        return int(_sum(metrics.LM_CALLS) - self._calls_before)

    @property
    def cost_so_far(self) -> float:
        """US dollars since the budget began."""
        return _sum(metrics.LM_COST) - self._cost_before

    def check(self) -> None:
        """Raise Stopped where a limit is exceeded. May be called from any thread."""
        if self.calls is not None and self.calls_made > self.calls:
            self.spent = f"{self.calls:,} LM calls"
        if self.cost_usd is not None and self.cost_so_far > self.cost_usd:
            self.spent = f"${self.cost_usd:,.2f}"
        if self.spent:
            raise Stopped

    def error(self) -> CompileFailed:
        """For whoever caught Stopped."""
        return CompileFailed(
            f"the budget of {self.spent} is spent; raise it, or choose a cheaper optimizer (answers so far are cached)"
        )


def _sum(counter: Counter) -> float:
    return sum(
        sample.value for metric in counter.collect() for sample in metric.samples if sample.name.endswith("_total")
    )
