# SPDX-License-Identifier: Apache-2.0
"""From the provider's and DSPy's errors to the catalogue."""

from __future__ import annotations

import pytest
from dspy import lm15
from dspy.clients.errors import wrap_error
from dspy.utils import exceptions as dspy_errors

from slipway_server.errors import (
    DeadlineTooShort,
    ProviderCircuitOpen,
    QueueWaitTooLong,
    SlipwayError,
)
from slipway_server.lm.errors import refusal, translate
from slipway_server.lm.retries import is_retryable

ROWS = [
    (lm15.RateLimitError("x", retry_after=3.0), "PROVIDER_RATE_LIMITED"),
    (lm15.RateLimitError("x", provider_code="billing_hard_limit_reached"), "PROVIDER_BILLING"),
    (lm15.BillingError("x"), "PROVIDER_BILLING"),
    (lm15.AuthError("x"), "PROVIDER_AUTH"),
    (lm15.UnsupportedModelError("x"), "PROVIDER_MODEL_UNKNOWN"),
    (lm15.InvalidRequestError("x", status=404), "PROVIDER_MODEL_UNKNOWN"),
    (lm15.InvalidRequestError("x", status=400), "PROVIDER_REJECTED"),
    (lm15.InvalidRequestError("This exceeds the maximum context length", status=400), "CONTEXT_TOO_LONG"),
    (lm15.ContextLengthError("x"), "CONTEXT_TOO_LONG"),
    (lm15.TimeoutError("x"), "PROVIDER_UNAVAILABLE"),
    (lm15.ServerError("x", status=529), "PROVIDER_UNAVAILABLE"),
    (lm15.TransportError("x"), "PROVIDER_UNAVAILABLE"),
    (lm15.StreamAssemblyError("x"), "PROVIDER_UNAVAILABLE"),
    (lm15.ProviderError("x", status=418), "PROVIDER_REJECTED"),
    (lm15.ProviderError("x"), "PROVIDER_UNAVAILABLE"),
    (lm15.ProviderError("the reply is not JSON", status=200), "PROVIDER_UNAVAILABLE"),
    (lm15.NotConfiguredError("x"), "CONFIG_INVALID"),
    (lm15.UnsupportedFeatureError("x"), "PROVIDER_REJECTED"),
]


@pytest.mark.parametrize(("error", "reason"), ROWS, ids=lambda value: getattr(value, "code", value))
def test_every_kind_directly_and_through_dspy(error: lm15.LM15Error, reason: str) -> None:
    direct = translate(error)
    assert direct is not None
    assert direct.reason == reason
    wrapped = wrap_error(error, model="openai/m")
    assert isinstance(wrapped, dspy_errors.LMError)
    wrapped.__cause__ = error
    through = translate(wrapped)
    assert through is not None
    assert (through.reason, through.retry_after_seconds) == (reason, direct.retry_after_seconds)


def test_what_the_lm_did_not_cause_is_none() -> None:
    assert translate(ValueError("a bug")) is None
    assert translate(dspy_errors.LMUnexpectedError("an engine's bug")) is None


def test_found_below_a_programs_own_exception_and_in_groups() -> None:
    def program() -> None:
        try:
            raise refusal(QueueWaitTooLong("too long", retry_after_seconds=4.0))
        except lm15.LM15Error as error:
            raise RuntimeError("the step failed") from error

    with pytest.raises(RuntimeError) as caught:
        program()
    for error in (caught.value, ExceptionGroup("two", [ValueError("x"), caught.value])):
        known = translate(error)
        assert isinstance(known, QueueWaitTooLong)
        assert known.retry_after_seconds == 4.0


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert translate(first) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (QueueWaitTooLong("x", retry_after_seconds=2.0), dspy_errors.LMRateLimitError),
        (DeadlineTooShort("x"), dspy_errors.LMTimeoutError),
        (ProviderCircuitOpen("x", retry_after_seconds=2.0), dspy_errors.LMServerError),
    ],
)
def test_a_refusal_keeps_its_meaning_in_dspy_and_is_never_repeated(error: SlipwayError, kind: type[Exception]) -> None:
    raised = refusal(error, cause=TimeoutError())
    assert isinstance(wrap_error(raised, model="m"), kind)
    assert translate(raised) is error
    assert not is_retryable(raised)


def test_no_message_carries_the_providers_text() -> None:
    for error, _ in ROWS:
        error.message = "secret-prompt-text"
        known = translate(error)
        assert known is not None
        assert "secret" not in known.message
