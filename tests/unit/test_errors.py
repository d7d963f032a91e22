# SPDX-License-Identifier: Apache-2.0
"""The catalogue is complete and consistent."""

from __future__ import annotations

import re

from slipway_server import errors
from slipway_server.errors import Code, SlipwayError, catalogue


def test_reasons_are_unique_and_well_formed() -> None:
    reasons = [error.reason for error in catalogue()]
    assert len(reasons) == len(set(reasons))
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{1,62}", reason) for reason in reasons)


def test_every_error_says_what_it_means() -> None:
    assert all(error.meaning.endswith(".") for error in catalogue())


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert errors.__doc__ is not None
    missing = [error.__name__ for error in catalogue() if not re.search(rf"\b{error.__name__}\b", errors.__doc__)]
    assert missing == []


def test_pushback_never_invites_retries_of_what_cannot_succeed() -> None:
    for error in catalogue():
        instance = error("message")
        assert instance.pushback_ms == (None if error.retryable else errors.NEVER_RETRY)
        if error.retryable:
            assert error("message", retry_after_seconds=1.5).pushback_ms == 1500


def test_absurd_advice_fits_into_the_trailer() -> None:
    for advice in (1e9, 1e18, float("inf")):
        refused = errors.EmbedderRateLimited("message", retry_after_seconds=advice)
        assert refused.retry_after_seconds == errors.LONGEST_ADVICE_SECONDS
        assert refused.pushback_ms == 3_600_000


def test_codes_say_whose_fault_it_is() -> None:
    for error in catalogue():
        if issubclass(error, errors.CallerError):
            assert error.code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.UNIMPLEMENTED)
        if issubclass(error, errors.OperatorError):
            assert error.code is Code.FAILED_PRECONDITION
    assert issubclass(SlipwayError, Exception)
