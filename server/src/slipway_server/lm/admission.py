# SPDX-License-Identifier: Apache-2.0
"""Before an attempt: is the provider there, would the wait fit, and whose turn is it?

    waiter = await admission.enter(call)        # raises the refusals that need no attempt
    …
    gate.leave(waiter)

A wait that cannot fit is refused at once, with the time after which it would: the caller can then use the time that is
left for something else, and the queue never grows longer than it can be served.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from slipway_server.errors import DeadlineTooShort, ProviderCircuitOpen, QueueWaitTooLong
from slipway_server.lm.breaker import Breaker
from slipway_server.lm.calls import Call
from slipway_server.lm.errors import refusal
from slipway_server.lm.gate import NEGLIGIBLE_SECONDS, Gate, Waiter
from slipway_server.lm.meters import Meters
from slipway_server.lm.outcomes import QUOTA_SUBJECT, unavailable
from slipway_server.request import TrafficClass


class Admission:
    """See the module.

    Args:
        queue_cap_seconds: Longest predicted wait of an interactive call.
        expected_seconds: What an attempt usually takes: a wait must leave so much of the deadline.
    """

    def __init__(
        self,
        gate: Gate,
        breaker: Breaker,
        meters: Meters,
        *,
        queue_cap_seconds: float,
        expected_seconds: Callable[[], float],
        now: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._gate = gate
        self._breaker = breaker
        self._meters = meters
        self._queue_cap_seconds = queue_cap_seconds
        self._expected_seconds = expected_seconds
        self._now = now
        self._rng = rng

    async def enter(self, call: Call) -> Waiter:
        """Wait for the turn of the call's next attempt; a repeated one goes to the head of its queue."""
        first = call.attempts == 0
        self._check_circuit(call)
        try:
            self._check_deadline(call)
            if first:
                self._check_wait(call)
            waiter = self._gate.enqueue(call.need, call.cls, _nobody_waits, front=not first)
            if waiter.admitted_at is None:
                await self._turn(call, waiter)
        except BaseException:
            self._breaker.abandoned(call)
            raise
        call.attempts += 1
        call.account.attempts += 1
        self._meters.waited(call.account, call.cls, waiter.waits)
        return waiter

    async def _turn(self, call: Call, waiter: Waiter) -> None:
        turn = asyncio.get_running_loop().create_future()

        def go(_: Waiter) -> None:
            if not turn.done():
                turn.set_result(None)

        waiter.go = go
        try:
            async with asyncio.timeout(call.remaining(self._now())):
                await turn
            # It may have opened while the call waited.
            self._check_circuit(call)
        except TimeoutError:
            self._gate.withdraw(waiter)
            self._meters.shed(call.cls, "deadline")
            late = DeadlineTooShort("the deadline passed while the LM call waited for its turn")
            raise refusal(late) from late
        except BaseException:
            self._gate.withdraw(waiter)
            raise

    def _check_circuit(self, call: Call) -> None:
        wait = self._breaker.wait_seconds(call)
        if wait <= 0:
            return
        if call.attempts:
            raise refusal(unavailable(call.attempts, "an open circuit"))
        self._meters.shed(call.cls, "circuit")
        raise refusal(
            ProviderCircuitOpen(
                f"the provider failed repeatedly and is not called for {wait:.1f} s", retry_after_seconds=wait
            )
        )

    def _check_deadline(self, call: Call) -> None:
        remaining = call.remaining(self._now())
        if remaining is not None and remaining <= 0:
            self._meters.shed(call.cls, "deadline")
            raise refusal(DeadlineTooShort("the deadline passed before the LM was called"))

    def _check_wait(self, call: Call) -> None:
        wait = self._gate.predicted_wait(call.cls, call.need)
        if wait <= NEGLIGIBLE_SECONDS:
            # A call that need not wait may try, however little time it has: else a slow hour could never end.
            return
        remaining = call.remaining(self._now())
        slack = math.inf if remaining is None else remaining - self._expected_seconds()
        cap = self._queue_cap_seconds if call.cls is TrafficClass.INTERACTIVE else math.inf
        if wait <= min(cap, slack):
            return
        self._meters.shed(call.cls, "queue_cap" if wait > cap else "deadline")
        raise refusal(
            QueueWaitTooLong(
                f"the LM call would wait about {wait:.1f} s for the provider's quota; retry later",
                # Spread, so that refused callers do not come back together.
                retry_after_seconds=wait * self._rng.uniform(1.0, 1.25),
                subject=QUOTA_SUBJECT,
            )
        )


def _nobody_waits(_: Waiter) -> None:
    """An attempt that is admitted at once needs no waking."""
