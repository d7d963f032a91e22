# SPDX-License-Identifier: Apache-2.0
"""Between the provider's errors, DSPy's and the catalogue.

    try:
        await program.acall(question="…")
    except Exception as error:
        raise translate(error) or error

The governor raises lm15 errors, because only these keep their meaning through DSPy (everything else arrives as
LMUnexpectedError); each has the SlipwayError that says it better as its cause. `translate` finds it wherever DSPy or
the program wrapped it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dspy import lm15
from dspy.utils import exceptions as dspy_errors

from slipway_server.errors import (
    BILLING_CODES,
    ConfigInvalid,
    ContextTooLong,
    DeadlineTooShort,
    OverloadError,
    ProviderAuth,
    ProviderBilling,
    ProviderModelUnknown,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
    SlipwayError,
    UnavailableError,
)

CONTEXT_PHRASES = ("context length", "context window", "context size", "maximum context", "prompt is too long")
"""How OpenAI-compatible servers without error codes say that a prompt is too long."""


def refusal(error: SlipwayError, cause: BaseException | None = None) -> lm15.LM15Error:
    """The lm15 error to raise so that `error` survives DSPy: `raise refusal(QueueWaitTooLong("…"))`.

    Its cause is `error`; in an `except` block say `from error` as well, for `from None` would take the cause away.
    """
    error.__cause__ = cause
    kind: type[lm15.LM15Error]
    if isinstance(error, OverloadError):
        kind = lm15.RateLimitError
    elif isinstance(error, DeadlineTooShort):
        kind = lm15.TimeoutError
    elif isinstance(error, UnavailableError):
        kind = lm15.ServerError
    else:
        kind = lm15.ConfigurationError
    raised = kind(error.message, retry_after=error.retry_after_seconds)
    raised.__cause__ = error
    return raised


def translate(error: BaseException) -> SlipwayError | None:
    """The catalogue's error for whatever left a program because of its LM; None where the LM is not the cause."""
    links = list(chain(error))
    for link in links:
        if isinstance(link, SlipwayError):
            return link
    for link in links:
        found = _by_type(link)
        if found is not None:
            found.__cause__ = error
            return found
    return None


def is_billing(error: BaseException) -> bool:
    """Whether a 429 is about money and not about time."""
    return getattr(error, "provider_code", None) in BILLING_CODES


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes, and the members of exception groups, nearest first."""
    queue, seen = [error], set[int]()
    while queue:
        link = queue.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            queue.extend(link.exceptions)
        following = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        if following is not None:
            queue.append(following)


def _by_type(error: BaseException) -> SlipwayError | None:
    for kinds, make in _TABLE:
        if isinstance(error, kinds):
            return make(error)
    return None


def _rate_limited(error: BaseException) -> SlipwayError:
    if is_billing(error):
        return _billing(error)
    wait = getattr(error, "retry_after", None)
    hint = f"retry in {wait:.1f} s" if wait is not None else "retry later"
    return ProviderRateLimited(f"the provider's rate limit is reached; {hint}", retry_after_seconds=wait)


def _billing(_: BaseException) -> SlipwayError:
    return ProviderBilling("the provider's account has no quota or credit left; top it up or use another key")


def _auth(_: BaseException) -> SlipwayError:
    return ProviderAuth("the provider refuses the API key; check SLIPWAY_LM_API_KEY or SLIPWAY_LM_API_KEY_FILE")


def _unknown_model(_: BaseException) -> SlipwayError:
    return ProviderModelUnknown("the provider does not know the model; check SLIPWAY_LM_MODEL and SLIPWAY_LM_BASE_URL")


def _too_long(_: BaseException) -> SlipwayError:
    return ContextTooLong("the prompt exceeds the model's context window; shorten the input or lower k")


def _rejected(error: BaseException) -> SlipwayError:
    text = str(error).lower()
    if any(phrase in text for phrase in CONTEXT_PHRASES):
        return _too_long(error)
    status = getattr(error, "status", None)
    if status == 404:
        return _unknown_model(error)
    return ProviderRejected(f"the provider refuses the request as invalid{_status(status)}; the server's log has it")


def _unavailable(error: BaseException) -> SlipwayError:
    return ProviderUnavailable(f"the provider does not answer{_status(getattr(error, 'status', None))}; try later")


def _provider(error: BaseException) -> SlipwayError:
    status = getattr(error, "status", None)
    if status is not None and 200 <= status < 300:
        return ProviderUnavailable("the provider's answer is not JSON, or not what its interface promises; try later")
    return _rejected(error) if status is not None and 400 <= status < 500 else _unavailable(error)


def _not_configured(_: BaseException) -> SlipwayError:
    return ConfigInvalid("the LM is not configured completely; set SLIPWAY_LM_MODEL and SLIPWAY_LM_API_KEY")


def _unsupported(_: BaseException) -> SlipwayError:
    return ProviderRejected("the model does not support a feature that the program asks for; the server's log has it")


def _status(status: int | None) -> str:
    return "" if status is None else f" (HTTP {status})"


_TABLE: tuple[tuple[tuple[type[BaseException], ...], Callable[[BaseException], SlipwayError]], ...] = (
    ((lm15.ContextLengthError, dspy_errors.ContextWindowExceededError), _too_long),
    ((lm15.AuthError, dspy_errors.LMAuthError), _auth),
    ((lm15.BillingError, dspy_errors.LMBillingError), _billing),
    ((lm15.RateLimitError, dspy_errors.LMRateLimitError), _rate_limited),
    ((lm15.UnsupportedModelError, dspy_errors.LMUnsupportedModelError), _unknown_model),
    ((lm15.InvalidRequestError, dspy_errors.LMInvalidRequestError), _rejected),
    ((lm15.TimeoutError, lm15.ServerError, lm15.TransportError, lm15.LockTimeoutError), _unavailable),
    ((dspy_errors.LMTimeoutError, dspy_errors.LMServerError, dspy_errors.LMTransportError), _unavailable),
    ((dspy_errors.LMLockTimeoutError, dspy_errors.LMStreamAssemblyError, lm15.StreamAssemblyError), _unavailable),
    ((lm15.ProviderError, dspy_errors.LMProviderError), _provider),
    ((lm15.CapabilityError, dspy_errors.LMUnsupportedFeatureError), _unsupported),
    ((lm15.ConfigurationError, dspy_errors.LMConfigurationError), _not_configured),
)
"""Specific classes before their bases."""
