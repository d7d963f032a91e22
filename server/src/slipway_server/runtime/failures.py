# SPDX-License-Identifier: Apache-2.0
"""Whatever leaves a program becomes an error of the catalogue; what is not expected is logged here and hidden."""

from __future__ import annotations

import logging

from dspy.utils.exceptions import AdapterParseError

from slipway_server.errors import AnswerUnparseable, DeadlineTooShort, ProgramFailed, SlipwayError
from slipway_server.lm.errors import chain, translate
from slipway_server.request import RequestContext

log = logging.getLogger(__name__)


def as_slipway_error(error: Exception, context: RequestContext) -> SlipwayError:
    """The catalogue's error for what a program raised."""
    known = translate(error)
    if known is not None:
        return known
    if any(isinstance(link, AdapterParseError) for link in chain(error)):
        return AnswerUnparseable(
            "the LM's answer had not the fields of the signature, twice; try again or another model"
        )
    if isinstance(error, TimeoutError) and context.remaining_seconds() == 0:
        return DeadlineTooShort("the deadline passed before the program had an answer")
    log.error("program failed", exc_info=error, extra={"request_id": context.request_id})
    return ProgramFailed(
        f"the program raised {type(error).__name__}; the server's log has it under request id {context.request_id}",
        request_id=context.request_id,
    )
