# SPDX-License-Identifier: Apache-2.0
"""What an embedding endpoint's refusals mean, and which of them are worth another attempt."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime

import httpx
import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from slipway_server import request
from slipway_server.errors import (
    BILLING_CODES,
    EmbedderRateLimited,
    EmbedderUnavailable,
    ProviderAuth,
    ProviderBilling,
    ProviderModelUnknown,
    ProviderRejected,
    SlipwayError,
)

MAX_ATTEMPTS = 4
RETRY_AFTER_CAP_SECONDS = 30.0
"""A longer wait is the caller's to make."""
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 8.0
ADVICE_JITTER_SECONDS = 0.5
"""Added to a Retry-After, at random: it is a minimum, and every pod got the same one."""


def retrying(sleep: Callable[[float], Awaitable[None]]) -> AsyncRetrying:
    """Attempts on EmbedderUnavailable and EmbedderRateLimited: exponential waits, or Retry-After; both with jitter.

    It ends with the last error after four attempts, or as soon as a Retry-After is longer than the cap, or a wait is
    longer than what is left of the request's deadline.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type((EmbedderUnavailable, EmbedderRateLimited)),
        sleep=sleep,
        stop=_spent,
        wait=_wait_seconds,
        reraise=True,
    )


def refused(response: httpx.Response, model: str) -> SlipwayError:
    """The catalogue's error for an answer that is not 200; names no address, since callers see it."""
    status, code = response.status_code, _error_code(response)
    if status in (401, 403):
        return ProviderAuth("The embedding endpoint refuses the key; check SLIPWAY_EMBEDDING_API_KEY")
    if status == 402 or code in BILLING_CODES:
        return ProviderBilling("The account at the embedding endpoint (SLIPWAY_EMBEDDING_BASE_URL) has no quota left")
    if status == 404:
        return ProviderModelUnknown(
            f"The embedding endpoint knows no model {model[:60]}; check SLIPWAY_EMBEDDING_MODEL and "
            "SLIPWAY_EMBEDDING_BASE_URL"
        )
    if status == 429:
        after = retry_after_seconds(response)
        return EmbedderRateLimited("The embedding endpoint is rate limited", retry_after_seconds=after)
    if status in (408, 409, 425) or status >= 500:
        return EmbedderUnavailable(
            f"The embedding endpoint (SLIPWAY_EMBEDDING_BASE_URL) fails (HTTP {status})",
            retry_after_seconds=retry_after_seconds(response),
        )
    return ProviderRejected(f"The embedding endpoint (SLIPWAY_EMBEDDING_BASE_URL) refuses the request (HTTP {status})")


def retry_after_seconds(response: httpx.Response) -> float | None:
    """Retry-After-Ms, or Retry-After in seconds or as a date (RFC 9110 §10.2.3)."""
    milliseconds = _number(response.headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = response.headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(text or "").timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _error_code(response: httpx.Response) -> str:
    try:
        return str(orjson.loads(response.content)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _asked_for(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return error.retry_after_seconds if isinstance(error, SlipwayError) else None


def _wait_seconds(state: RetryCallState) -> float:
    asked = _asked_for(state)
    if asked is not None:
        return asked + random.uniform(0.0, ADVICE_JITTER_SECONDS)
    ceiling = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (state.attempt_number - 1))
    return random.uniform(ceiling / 2, ceiling)


def _spent(state: RetryCallState) -> bool:
    """Tenacity asks this after it has chosen the wait, which is `upcoming_sleep`."""
    remaining = request.current().remaining_seconds()
    too_long = (_asked_for(state) or 0.0) > RETRY_AFTER_CAP_SECONDS
    too_late = remaining is not None and state.upcoming_sleep > remaining
    return stop_after_attempt(MAX_ATTEMPTS)(state) or too_long or too_late
