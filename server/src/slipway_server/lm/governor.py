# SPDX-License-Identifier: Apache-2.0
"""Everything between a cache miss and the provider: admission, concurrency, pacing, one retry loop, deadlines.

    governor = Governor(config, backend, pacer)        # on the owner loop
    response = await governor.complete(request)        # lm15 in, lm15 out; raises lm15 errors

A call waits for its turn (lm/admission.py), makes an attempt, and repeats it where that may help (lm/retries.py); its
slot is given back while it waits. Whose deadline, class and account it works for comes from request.current().
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from dspy import lm15
from tenacity import AsyncRetrying

from slipway_server import request as requests
from slipway_server.errors import DeadlineTooShort, OverloadError
from slipway_server.lm import exchange
from slipway_server.lm.admission import Admission
from slipway_server.lm.breaker import Breaker, BreakerConfig
from slipway_server.lm.calls import Call
from slipway_server.lm.errors import refusal
from slipway_server.lm.exchange import Exchange
from slipway_server.lm.gate import Gate, Waiter
from slipway_server.lm.meters import Meters
from slipway_server.lm.needs import Needs, used_of
from slipway_server.lm.outcomes import final_error, outcome_of
from slipway_server.lm.pacing.headers import levels_of
from slipway_server.lm.pacing.types import Pacer
from slipway_server.lm.retries import RetryBudget, RetryConfig, RetryPlan, is_retryable
from slipway_server.lm.streams import Pump
from slipway_server.telemetry import metrics

T = TypeVar("T")


class Backend(Protocol):
    """One attempt at the provider, without any policy. Raises lm15 errors."""

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """The whole answer."""
        ...

    def stream(self, request: lm15.Request) -> AsyncIterator[lm15.StreamEvent]:
        """The answer as events, the last of them StreamEndEvent."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


@dataclass(frozen=True, slots=True)
class GovernorConfig:
    """Limits of one process."""

    model: str
    max_concurrency: int = 64
    attempt_timeout_seconds: float = 120.0
    queue_cap_seconds: float = 10.0
    """Longest predicted wait of an interactive call; other classes may wait until their deadline."""
    retries: RetryConfig = field(default_factory=RetryConfig)
    breaker: BreakerConfig = field(default_factory=BreakerConfig)
    prices: tuple[float, float] | None = None
    """US dollars per million prompt and completion tokens."""


class Governor:
    """See the module. Belongs to the event loop that it is used on."""

    def __init__(
        self,
        config: GovernorConfig,
        backend: Backend,
        pacer: Pacer,
        *,
        now: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.pacer = pacer
        self.budget = RetryBudget()
        self._config = config
        self._backend = backend
        self._now = now
        self._rng = rng or random.Random()
        self._needs = Needs()
        self._meters = Meters(config.model, config.prices)
        self._log_seconds: float | None = None
        self.breaker = Breaker(config.breaker, now=now, rng=self._rng)
        self.gate = Gate(pacer, config.max_concurrency, now=now, call_at=self._call_at)
        self._admission = Admission(
            self.gate,
            self.breaker,
            self._meters,
            queue_cap_seconds=config.queue_cap_seconds,
            expected_seconds=self._expected_seconds,
            now=now,
            rng=self._rng,
        )

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer. Raises lm15 errors; those of the governor's own making have a SlipwayError as cause."""
        return await self._governed(request, self._attempt)

    async def stream(self, request: lm15.Request) -> AsyncIterator[lm15.StreamEvent]:
        """One answer as events. Attempts are repeated only before the first event."""
        pump = await self._governed(request, self._open_stream)
        try:
            async for event in pump:
                yield event
        finally:
            await pump.aclose()

    def refresh(self) -> None:
        """Bring the gauges up to date, and let the gate look again; about once a second."""
        self._meters.refresh(self._now(), self.pacer, self.gate)
        metrics.LM_RETRY_BUDGET.set(self.budget.left)
        metrics.LM_CIRCUIT_OPEN.set(self.breaker.is_open)
        self.gate.pump()

    async def aclose(self) -> None:
        """Close the backend; calls under way must have ended."""
        await self._backend.aclose()

    async def _governed(self, request: lm15.Request, attempt: Callable[[Call], Awaitable[T]]) -> T:
        call = self._opened(request)
        result = "failed"
        try:
            try:
                answer = await attempt(call)
            except lm15.LM15Error as error:
                if not is_retryable(error):
                    raise
                answer = await self._repeated(call, attempt, error)
            result = "ok"
            return answer
        except lm15.LM15Error as error:
            final = final_error(call, error, predicted_wait=self.gate.predicted_wait(call.cls, call.need))
            result = "refused" if isinstance(final.__cause__, OverloadError) else "failed"
            if final is error:
                raise
            # Its cause is set already; `from` would replace it.
            raise final  # noqa: B904
        finally:
            self._meters.called(call.cls, result, self._now() - call.started_at)

    async def _repeated(self, call: Call, attempt: Callable[[Call], Awaitable[T]], error: lm15.LM15Error) -> T:
        """Further attempts. Most calls need one, and tenacity costs as much CPU as the rest: it takes over here."""
        failed: lm15.LM15Error | None = error
        plan = call.plan
        retrying = AsyncRetrying(
            retry=plan.retry, wait=plan.wait, stop=plan.stop, sleep=self._sleeper(call), reraise=True
        )

        async def again() -> T:
            nonlocal failed
            if failed is not None:
                first, failed = failed, None
                raise first
            return await attempt(call)

        answer: T = await retrying(again)
        return answer

    def _opened(self, request: lm15.Request) -> Call:
        context = requests.current()
        context.account.lm_calls += 1
        plan = RetryPlan(
            self._config.retries,
            self.budget,
            deadline=context.deadline,
            now=self._now,
            expected_seconds=self._expected_seconds,
            rng=self._rng,
        )
        return Call(
            request=request,
            cls=context.traffic_class,
            deadline=context.deadline,
            account=context.account,
            need=self._needs.predict(request),
            plan=plan,
            started_at=self._now(),
        )

    def _sleeper(self, call: Call) -> Callable[[float], Awaitable[None]]:
        async def sleep(seconds: float) -> None:
            self._meters.retrying(call.account, seconds)
            await asyncio.sleep(seconds)

        return sleep

    async def _attempt(self, call: Call) -> lm15.Response:
        waiter = await self._admission.enter(call)
        try:
            with exchange.opened() as seen:
                try:
                    async with asyncio.timeout(self._attempt_seconds(call)):
                        response = await self._backend.complete(call.request)
                except BaseException as error:
                    self._failed(call, waiter, seen, error)
                    raise
            self._answered(call, waiter, seen, response.usage)
        finally:
            self.gate.leave(waiter)
        return response

    async def _open_stream(self, call: Call) -> Pump:
        waiter = await self._admission.enter(call)

        async def events() -> AsyncGenerator[lm15.StreamEvent, None]:
            usage: lm15.Usage | None = None
            with exchange.opened() as seen:
                try:
                    async with asyncio.timeout(self._attempt_seconds(call)):
                        async for event in self._backend.stream(call.request):
                            usage = getattr(event, "usage", None) or usage
                            yield event
                except BaseException as error:
                    self._failed(call, waiter, seen, error)
                    raise
            self._answered(call, waiter, seen, usage)

        # Whatever way it ends, and even if it was cancelled before its first step.
        pump = Pump(events(), on_end=lambda: self.gate.leave(waiter))
        await pump.first()
        return pump

    def _answered(self, call: Call, waiter: Waiter, seen: Exchange, usage: lm15.Usage | None) -> None:
        """Book a successful attempt."""
        sent_at, used = waiter.admitted_at or 0.0, used_of(usage)
        seconds = self._now() - sent_at
        self.breaker.succeeded()
        self.budget.earn()
        self.pacer.succeeded(call.cls, call.need, sent_at, levels_of(seen.headers, time.time()), used)
        if used is not None:
            self._needs.learn(call.request, used)
        logarithm = math.log(max(seconds, 1e-4))
        self._log_seconds = logarithm if self._log_seconds is None else self._log_seconds * 0.9 + logarithm * 0.1
        self._meters.attempted(call.account, call.cls, "ok", seconds)
        self._meters.used(call.account, used)

    def _failed(self, call: Call, waiter: Waiter, seen: Exchange, raised: BaseException) -> None:
        """Book a failed attempt; raise where another error says better what happened."""
        error = self._named_timeout(call, raised)
        outcome, sent_at = outcome_of(error), waiter.admitted_at or 0.0
        now = self._now()
        self._meters.attempted(call.account, call.cls, outcome, now - sent_at)
        if outcome == "rate_limited":
            self._throttled(call, sent_at, seen, getattr(error, "retry_after", None))
        if outcome in ("cancelled", "deadline") and requests.is_over(call.remaining(now)) and not seen.replied:
            self.breaker.unanswered(call, sent_at, self._expected_seconds())
        elif outcome in ("cancelled", "deadline", "error"):
            self.breaker.abandoned(call)
        elif outcome != "rate_limited" and is_retryable(error):
            self.breaker.failed(call)
        else:
            self.breaker.succeeded()
        if error is not raised:
            raise error

    def _throttled(self, call: Call, sent_at: float, seen: Exchange, advice: float | None) -> None:
        self._meters.advised(advice)
        pause = None if advice is None else min(advice, self._config.retries.retry_after_cap_seconds)
        self.pacer.throttled(call.cls, call.need, sent_at, levels_of(seen.headers, time.time()), pause)

    def _named_timeout(self, call: Call, error: BaseException) -> BaseException:
        """asyncio's own timeout, by whose patience ended; every other error as it is."""
        if not isinstance(error, TimeoutError) or isinstance(error, lm15.LM15Error):
            return error
        remaining = call.remaining(self._now())
        if remaining is not None and remaining <= 0:
            return refusal(DeadlineTooShort("the deadline passed before the provider answered"))
        return lm15.TimeoutError(f"no answer within {self._config.attempt_timeout_seconds:g} s")

    def _attempt_seconds(self, call: Call) -> float:
        remaining = call.remaining(self._now())
        limit = self._config.attempt_timeout_seconds
        return limit if remaining is None else min(limit, remaining)

    def _expected_seconds(self) -> float:
        """The median time of a successful attempt (times are about log-normal)."""
        return 0.0 if self._log_seconds is None else math.exp(self._log_seconds)

    def _call_at(self, when: float, fire: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(max(0.0, when - self._now()), fire)
