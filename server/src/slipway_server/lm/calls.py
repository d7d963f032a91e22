# SPDX-License-Identifier: Apache-2.0
"""One LM call on its way through its attempts."""

from __future__ import annotations

from dataclasses import dataclass

from dspy import lm15

from slipway_server.lm.pacing.types import Need
from slipway_server.lm.retries import RetryPlan
from slipway_server.request import Account, TrafficClass


@dataclass(slots=True)
class Call:
    """What every part of the governor needs to know of a call. Times are of the governor's clock."""

    request: lm15.Request
    cls: TrafficClass
    deadline: float | None
    account: Account
    need: Need
    plan: RetryPlan
    started_at: float
    attempts: int = 0

    def remaining(self, now: float) -> float | None:
        """Seconds until the deadline, negative after it; None without one."""
        return None if self.deadline is None else self.deadline - now
