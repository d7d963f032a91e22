# SPDX-License-Identifier: Apache-2.0
"""What an attempt's end is called in metrics, and what a call's end means for the caller."""

from __future__ import annotations

import asyncio
import logging

from dspy import lm15

from slipway_server.errors import (
    LONGEST_ADVICE_SECONDS,
    ContextTooLong,
    DeadlineTooShort,
    ProviderRateLimited,
    ProviderUnavailable,
    SlipwayError,
)
from slipway_server.lm.calls import Call
from slipway_server.lm.errors import is_billing, refusal, translate
from slipway_server.lm.retries import is_retryable

log = logging.getLogger(__name__)

QUOTA_SUBJECT = "lm_requests"
"""Subject of google.rpc.QuotaFailure, as the error's metadata `subject`."""
_LOGGED_CHARACTERS = 300
_LABELS: tuple[tuple[type[BaseException], str], ...] = (
    (lm15.RateLimitError, "rate_limited"),
    (lm15.BillingError, "billing"),
    (lm15.AuthError, "auth"),
    (lm15.InvalidRequestError, "invalid"),
    (lm15.TimeoutError, "timeout"),
    (lm15.ServerError, "server"),
    (lm15.TransportError, "transport"),
    (lm15.LM15Error, "other"),
)


def outcome_of(error: BaseException) -> str:
    """The label of slipway_lm_attempts_total for an attempt that ended with `error`."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "cancelled"
    if isinstance(error.__cause__, DeadlineTooShort):
        return "deadline"
    if is_billing(error):
        return "billing"
    return next((label for kind, label in _LABELS if isinstance(error, kind)), "error")


def final_error(call: Call, error: lm15.LM15Error, *, predicted_wait: float) -> lm15.LM15Error:
    """The error to leave the governor with, its meaning for the caller as its cause.

    Errors that mean the same to everybody (key, model, billing, invalid request) stay as they are.
    """
    if isinstance(error.__cause__, SlipwayError):
        return error
    _log(call, error)
    if isinstance(error, lm15.RateLimitError) and not is_billing(error):
        return refusal(_rate_limited(call, error, predicted_wait), error)
    if is_retryable(error):
        return refusal(unavailable(call.attempts, outcome_of(error)), error)
    if isinstance(translate(error), ContextTooLong):
        # DSPy's modules shorten a history that is too long, but know it by this type only.
        return lm15.ContextLengthError(error.message, status=error.status, request_id=error.request_id)
    return error


def unavailable(attempts: int, last: str) -> ProviderUnavailable:
    """The provider is down, and this server's attempts are spent: the caller is told not to add its own."""
    return ProviderUnavailable(f"the provider failed {attempts} attempt(s), the last with {last}; try later")


def _rate_limited(call: Call, error: lm15.LM15Error, predicted_wait: float) -> ProviderRateLimited:
    wait = min(LONGEST_ADVICE_SECONDS, max(1.0, predicted_wait) if error.retry_after is None else error.retry_after)
    why = {
        "retry_after": "longer than SLIPWAY_LM_RETRY_AFTER_CAP_SECONDS",
        "deadline": "longer than what is left of the deadline",
        "budget": "and this server's retry budget is spent",
    }.get(call.plan.stopped, f"after {call.attempts} attempt(s)")
    return ProviderRateLimited(
        f"the provider answers 429; come back in {wait:.1f} s, {why}",
        retry_after_seconds=wait,
        subject=QUOTA_SUBJECT,
    )


def _log(call: Call, error: lm15.LM15Error) -> None:
    log.warning(
        "provider refused",
        extra={
            "kind": type(error).__name__,
            "status": error.status,
            "provider_code": error.provider_code,
            "provider_request_id": error.request_id,
            "provider_message": error.message[:_LOGGED_CHARACTERS],
            "attempts": call.attempts,
            "stopped": call.plan.stopped,
        },
    )
