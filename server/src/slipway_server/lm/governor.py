# SPDX-License-Identifier: Apache-2.0
"""Everything between a cache miss and the provider: admission, concurrency, pacing, one retry loop, deadlines.

    governor = Governor(config, backend, pacer)        # on the owner loop
    response = await governor.complete(request)        # lm15 in, lm15 out; raises lm15 errors

A call asks for a slot of the pacer, makes an attempt, and repeats it where that may help (lm/retries.py); the slot is
given back while it waits. Whose deadline, class and account it works for comes from request.current().
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from dspy import lm15
from tenacity import AsyncRetrying

from slipway_server import request as requests
from slipway_server.errors import (
    DeadlineTooShort,
    OverloadError,
    ProviderCircuitOpen,
    ProviderRateLimited,
    ProviderUnavailable,
    QueueWaitTooLong,
    SlipwayError,
)
from slipway_server.lm import exchange
from slipway_server.lm.breaker import Breaker, BreakerConfig
from slipway_server.lm.errors import is_billing, refusal, translate
from slipway_server.lm.gate import Gate, Waiter
from slipway_server.lm.meters import Meters
from slipway_server.lm.needs import Needs, used_of
from slipway_server.lm.pacing.headers import levels_of
from slipway_server.lm.pacing.types import Need, Pacer
from slipway_server.lm.retries import RetryBudget, RetryConfig, RetryPlan, is_retryable
from slipway_server.lm.streams import Pump
from slipway_server.request import Account, TrafficClass
from slipway_server.telemetry import metrics

log = logging.getLogger(__name__)
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


@dataclass(slots=True)
class _Call:
    """One LM call on its way through its attempts."""

    request: lm15.Request
    cls: TrafficClass
    deadline: float | None
    account: Account
    need: Need
    plan: RetryPlan
    started_at: float
    attempts: int = 0


class Governor:
    """See the module. Belongs to the event loop that it is used on first."""

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
        self.breaker = Breaker(config.breaker, now=now, rng=self._rng)
        self.gate = Gate(pacer, config.max_concurrency, now=now, call_at=self._call_at)
        self._needs = Needs()
        self._meters = Meters(config.model, config.prices)
        self._log_seconds: float | None = None

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
        waiting = {cls: self.gate.waiting(cls) for cls in TrafficClass}
        self._meters.refresh(self._now(), self.pacer, in_flight=self.gate.in_flight, waiting=waiting)
        metrics.LM_RETRY_BUDGET.set(self.budget.left)
        metrics.LM_CIRCUIT_OPEN.set(self.breaker.is_open)
        self.gate.pump()

    async def aclose(self) -> None:
        """Close the backend; calls under way must have ended."""
        await self._backend.aclose()

    async def _governed(self, request: lm15.Request, attempt: Callable[[_Call], Awaitable[T]]) -> T:
        call = self._opened(request)
        retrying = AsyncRetrying(
            retry=call.plan.retry, wait=call.plan.wait, stop=call.plan.stop, sleep=self._sleeper(call), reraise=True
        )
        result = "failed"
        try:
            answer: T = await retrying(attempt, call)
            result = "ok"
            return answer
        except lm15.LM15Error as error:
            final = self._final(call, error)
            result = "refused" if isinstance(final.__cause__, OverloadError) else "failed"
            if final is error:
                raise
            # Its cause is set already; `from` would replace it.
            raise final  # noqa: B904
        finally:
            self._meters.called(call.cls, result, self._now() - call.started_at)

    def _opened(self, request: lm15.Request) -> _Call:
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
        return _Call(
            request=request,
            cls=context.traffic_class,
            deadline=context.deadline,
            account=context.account,
            need=self._needs.predict(request),
            plan=plan,
            started_at=self._now(),
        )

    def _sleeper(self, call: _Call) -> Callable[[float], Awaitable[None]]:
        async def sleep(seconds: float) -> None:
            self._meters.retrying(call.account, seconds)
            await asyncio.sleep(seconds)

        return sleep

    async def _attempt(self, call: _Call) -> lm15.Response:
        waiter = await self._enter(call)
        with exchange.opened() as seen:
            try:
                async with asyncio.timeout(self._attempt_seconds(call)):
                    response = await self._backend.complete(call.request)
            except BaseException as error:
                self._raise_failed(call, waiter, seen, error)
                raise
        self._answered(call, waiter, seen, response.usage)
        return response

    async def _open_stream(self, call: _Call) -> Pump:
        waiter = await self._enter(call)
        usage: lm15.Usage | None = None

        async def events() -> AsyncGenerator[lm15.StreamEvent, None]:
            nonlocal usage
            with exchange.opened() as seen:
                try:
                    async with asyncio.timeout(self._attempt_seconds(call)):
                        async for event in self._backend.stream(call.request):
                            usage = getattr(event, "usage", None) or usage
                            yield event
                except BaseException as error:
                    self._raise_failed(call, waiter, seen, error)
                    raise
            self._answered(call, waiter, seen, usage)

        pump = Pump(events())
        await pump.first()
        return pump

    async def _enter(self, call: _Call) -> Waiter:
        """Wait for the turn of the next attempt. Raises the refusals that need no attempt."""
        first = call.attempts == 0
        self._check_circuit(call)
        try:
            if first:
                self._check_wait(call)
            waiter = self.gate.enqueue(call.need, call.cls, _ignore, front=not first)
            if waiter.admitted_at is None:
                await self._turn(call, waiter)
        except BaseException:
            self.breaker.abandoned()
            raise
        call.attempts += 1
        call.account.attempts += 1
        self._meters.waited(call.account, call.cls, waiter.waits)
        return waiter

    async def _turn(self, call: _Call, waiter: Waiter) -> None:
        turn = asyncio.get_running_loop().create_future()

        def go(_: Waiter) -> None:
            if not turn.done():
                turn.set_result(None)

        waiter.go = go
        try:
            async with asyncio.timeout(self._remaining(call)):
                await turn
        except TimeoutError:
            self.gate.withdraw(waiter)
            self._meters.shed(call.cls, "deadline")
            raise refusal(DeadlineTooShort("the deadline passed while the LM call waited for its turn")) from None
        except BaseException:
            self.gate.withdraw(waiter)
            raise

    def _check_circuit(self, call: _Call) -> None:
        wait = self.breaker.wait_seconds()
        if wait <= 0:
            return
        if call.attempts:
            raise refusal(self._unavailable(call, "an open circuit"))
        self._meters.shed(call.cls, "circuit")
        raise refusal(
            ProviderCircuitOpen(
                f"the provider failed repeatedly and is not called for {wait:.1f} s", retry_after_seconds=wait
            )
        )

    def _check_wait(self, call: _Call) -> None:
        remaining = self._remaining(call)
        if remaining is not None and remaining <= 0:
            self._meters.shed(call.cls, "deadline")
            raise refusal(DeadlineTooShort("the deadline passed before the LM was called"))
        wait = self.gate.predicted_wait(call.cls, call.need)
        cap = self._config.queue_cap_seconds if call.cls is TrafficClass.INTERACTIVE else math.inf
        if wait <= min(cap, math.inf if remaining is None else remaining):
            return
        reason = "queue_cap" if wait > cap else "deadline"
        self._meters.shed(call.cls, reason)
        raise refusal(
            QueueWaitTooLong(
                f"the LM call would wait about {wait:.1f} s for the provider's quota; retry later",
                retry_after_seconds=wait * self._rng.uniform(1.0, 1.25),
                model=self._config.model,
                subject="lm_requests",
            )
        )

    def _answered(self, call: _Call, waiter: Waiter, seen: exchange.Exchange, usage: lm15.Usage | None) -> None:
        sent_at, used = waiter.admitted_at or 0.0, used_of(usage)
        seconds = self._now() - sent_at
        self.breaker.succeeded()
        self.budget.earn()
        self.pacer.succeeded(call.cls, call.need, sent_at, levels_of(seen.headers, time.time()), used)
        if used is not None:
            self._needs.learn(call.request, used)
        logarithm = math.log(max(seconds, 1e-4))
        self._log_seconds = logarithm if self._log_seconds is None else self._log_seconds * 0.9 + logarithm * 0.1
        self._meters.attempted(call.cls, "ok", seconds)
        self._meters.used(call.account, used)
        self.gate.leave(waiter)

    def _raise_failed(self, call: _Call, waiter: Waiter, seen: exchange.Exchange, raised: BaseException) -> None:
        """Book a failed attempt; raise where another error says better what happened."""
        error = self._timed_out(call, raised)
        outcome = _outcome(error)
        sent_at = waiter.admitted_at or 0.0
        self._meters.attempted(call.cls, outcome, self._now() - sent_at)
        if outcome == "rate_limited":
            advice = getattr(error, "retry_after", None)
            self._meters.advised(advice)
            pause = None if advice is None else min(advice, self._config.retries.retry_after_cap_seconds)
            levels = levels_of(seen.headers, time.time())
            self.pacer.throttled(call.cls, call.need, sent_at, levels, pause)
        if outcome in ("cancelled", "deadline", "error"):
            self.breaker.abandoned()
        elif is_retryable(error) and outcome != "rate_limited":
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        self.gate.leave(waiter)
        if error is not raised:
            raise error

    def _timed_out(self, call: _Call, error: BaseException) -> BaseException:
        """asyncio's own timeout says whose patience ended; everything else stays."""
        if not isinstance(error, TimeoutError) or isinstance(error, lm15.LM15Error):
            return error
        remaining = self._remaining(call)
        if remaining is not None and remaining <= 0:
            return refusal(DeadlineTooShort("the deadline passed before the provider answered"))
        return lm15.TimeoutError(f"no answer within {self._config.attempt_timeout_seconds:g} s")

    def _final(self, call: _Call, error: lm15.LM15Error) -> lm15.LM15Error:
        """The error that leaves the governor, with what it means for the caller as its cause."""
        if isinstance(error.__cause__, SlipwayError):
            return error
        log.warning(
            "provider refused",
            extra={
                "kind": type(error).__name__,
                "status": error.status,
                "provider_code": error.provider_code,
                "provider_request_id": error.request_id,
                "attempts": call.attempts,
                "stopped": call.plan.stopped,
                "provider_message": error.message[:300],
            },
        )
        if isinstance(error, lm15.RateLimitError) and not is_billing(error):
            return refusal(self._rate_limited(call, error), error)
        if is_retryable(error):
            return refusal(self._unavailable(call, _outcome(error)), error)
        known = translate(error)
        if known is not None and known.reason == "CONTEXT_TOO_LONG" and not isinstance(error, lm15.ContextLengthError):
            return lm15.ContextLengthError(error.message, status=error.status, request_id=error.request_id)
        return error

    def _unavailable(self, call: _Call, last: str) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"the provider failed {call.attempts} attempt(s), the last with {last}; try later",
            model=self._config.model,
        )

    def _rate_limited(self, call: _Call, error: lm15.LM15Error) -> ProviderRateLimited:
        wait = error.retry_after
        if wait is None:
            wait = max(1.0, self.gate.predicted_wait(call.cls, call.need))
        why = {
            "retry_after": "longer than SLIPWAY_LM_RETRY_AFTER_CAP_SECONDS",
            "deadline": "longer than what is left of the deadline",
            "budget": "and this server's retry budget is spent",
        }.get(call.plan.stopped, f"after {call.attempts} attempt(s)")
        return ProviderRateLimited(
            f"the provider answers 429; come back in {wait:.1f} s, {why}",
            retry_after_seconds=wait * self._rng.uniform(1.0, 1.1),
            model=self._config.model,
            subject="lm_requests",
        )

    def _remaining(self, call: _Call) -> float | None:
        return None if call.deadline is None else call.deadline - self._now()

    def _attempt_seconds(self, call: _Call) -> float:
        remaining = self._remaining(call)
        limit = self._config.attempt_timeout_seconds
        return limit if remaining is None else min(limit, remaining)

    def _expected_seconds(self) -> float:
        """The median time of a successful attempt (times are about log-normal)."""
        return 0.0 if self._log_seconds is None else math.exp(self._log_seconds)

    def _call_at(self, when: float, fire: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(max(0.0, when - self._now()), fire)


def _ignore(_: Waiter) -> None:
    """Nobody waits yet: the waiter says itself that it was admitted."""


def _outcome(error: BaseException) -> str:
    """The label of slipway_lm_attempts_total."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "cancelled"
    if isinstance(error.__cause__, DeadlineTooShort):
        return "deadline"
    for kind, label in _OUTCOMES:
        if isinstance(error, kind):
            return "billing" if label == "rate_limited" and is_billing(error) else label
    return "error"


_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (lm15.RateLimitError, "rate_limited"),
    (lm15.BillingError, "billing"),
    (lm15.AuthError, "auth"),
    (lm15.InvalidRequestError, "invalid"),
    (lm15.TimeoutError, "timeout"),
    (lm15.ServerError, "server"),
    (lm15.TransportError, "transport"),
    (lm15.LM15Error, "other"),
)
