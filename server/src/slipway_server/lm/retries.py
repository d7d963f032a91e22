# SPDX-License-Identifier: Apache-2.0
"""The one retry policy of the whole system, as strategies for tenacity.

    plan = RetryPlan(config, budget, deadline=…, now=…, expected_seconds=…, rng=…)
    retrying = AsyncRetrying(retry=plan.retry, wait=plan.wait, stop=plan.stop, sleep=…, reraise=True)

What is retried is decided by the error's type alone; what the provider asks to wait for is waited for, with jitter, as
long as it fits under the cap and into the deadline; without such advice the wait is full-jitter exponential (Brooker,
"Exponential Backoff And Jitter", 2015). A budget per process (10 and a tenth of a retry per success) keeps retries from
multiplying an outage.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from dspy import lm15
from tenacity import RetryCallState

from slipway_server.errors import SlipwayError
from slipway_server.lm.errors import is_billing

BACKOFF_BASE_SECONDS = 0.5
BACKOFF_CAP_SECONDS = 20.0
ADVICE_JITTER_SECONDS = 0.5
"""Added to a Retry-After, at random: it is a minimum, and every client got the same one."""


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Limits of one call's attempts."""

    max_attempts: int = 5
    retry_after_cap_seconds: float = 30.0


class RetryBudget:
    """Retries of this process: `start` at first, `per_success` more with each success, `most` at most."""

    def __init__(self, start: float = 10.0, per_success: float = 0.1, most: float = 20.0) -> None:
        self.left = start
        self._per_success = per_success
        self._most = most

    def earn(self) -> None:
        """A call succeeded."""
        self.left = min(self._most, self.left + self._per_success)

    def spend(self) -> bool:
        """Take one retry; False where none is left."""
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


def is_retryable(error: BaseException) -> bool:
    """Rate limits (not billing), timeouts, 5xx and connection faults; never what stays wrong when repeated.

    Nor what this process itself refused: such an error has a SlipwayError as its cause.
    """
    if isinstance(error.__cause__, SlipwayError):
        return False
    return isinstance(error, lm15.RETRYABLE_ERRORS) and not is_billing(error)


class RetryPlan:
    """The strategies of one call. `stopped` says afterwards why no further attempt was made."""

    def __init__(
        self,
        config: RetryConfig,
        budget: RetryBudget,
        *,
        deadline: float | None,
        now: Callable[[], float],
        expected_seconds: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._config = config
        self._budget = budget
        self._deadline = deadline
        self._now = now
        self._expected_seconds = expected_seconds
        self._rng = rng
        self.stopped = ""
        """attempts, retry_after, deadline or budget; empty where an error was not retryable, or none came."""

    def retry(self, state: RetryCallState) -> bool:
        """Tenacity's `retry`: is the failure one that repeating may cure?"""
        error = state.outcome.exception() if state.outcome is not None else None
        return error is not None and is_retryable(error)

    def wait(self, state: RetryCallState) -> float:
        """Tenacity's `wait`: the provider's advice with jitter, else full jitter under an exponential cap."""
        advice = advised_wait(state)
        if advice is not None:
            return advice + self._rng.uniform(0.0, ADVICE_JITTER_SECONDS)
        ceiling = BACKOFF_BASE_SECONDS * 2.0 ** min(state.attempt_number - 1, 10)
        return self._rng.uniform(0.0, min(BACKOFF_CAP_SECONDS, ceiling))

    def stop(self, state: RetryCallState) -> bool:
        """Tenacity's `stop`, asked after `wait`: no attempt that cannot end in time, none beyond the budget."""
        advice = advised_wait(state)
        if state.attempt_number >= self._config.max_attempts:
            self.stopped = "attempts"
        elif advice is not None and advice > self._config.retry_after_cap_seconds:
            self.stopped = "retry_after"
        elif self._deadline is not None and self._earliest_end(state) > self._deadline:
            self.stopped = "deadline"
        elif not self._budget.spend():
            self.stopped = "budget"
        return bool(self.stopped)

    def _earliest_end(self, state: RetryCallState) -> float:
        return self._now() + state.upcoming_sleep + self._expected_seconds()


def advised_wait(state: RetryCallState) -> float | None:
    """The Retry-After of the last failure in seconds, whichever form it came in."""
    error = state.outcome.exception() if state.outcome is not None else None
    return getattr(error, "retry_after", None)
