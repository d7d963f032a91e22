# SPDX-License-Identifier: Apache-2.0
"""Opens the configured judge: its LM on the session's loop, in the evaluation class like everything of a session.

with open_session(settings) as session, open_judge(session) as judge:
    judge.pin.digest
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from slipway_server.config import Settings
from slipway_server.evaluation.judges import Judge, judge_named
from slipway_server.lm.stack import open_stack
from slipway_server.runtime.session import Session


@contextmanager
def open_judge(session: Session) -> Iterator[Judge]:
    """The judge of SLIPWAY_JUDGE_…, for this block. Without an LM of its own it shares the program's, with its quota.

    Raises ConfigInvalid, ProgramInvalid.
    """
    settings = session.settings
    model, temperature = settings.judge_model or settings.lm_model, settings.judge_temperature
    own = own_settings(settings)
    if own is None:
        lm = session.lm_stack.lm.copy(temperature=temperature)
        yield judge_named(settings.judge_metric, model=model, temperature=temperature, lm=lm)
        return
    owner = session.stack.owner
    stack = owner.run(open_stack(own, owner=owner))
    try:
        yield judge_named(settings.judge_metric, model=model, temperature=temperature, lm=stack.lm)
    finally:
        owner.run(stack.aclose())


def own_settings(settings: Settings) -> Settings | None:
    """Settings of an LM of the judge's own; None where nothing says that it has one.

    A key in either form replaces both forms of the program's: a file would win over a key, and send it elsewhere.
    """
    named = {"lm_model": settings.judge_model, "lm_base_url": settings.judge_base_url}
    own: dict[str, object] = {name: value for name, value in named.items() if value is not None}
    if settings.judge_api_key is not None or settings.judge_api_key_file is not None:
        own |= {"lm_api_key": settings.judge_api_key, "lm_api_key_file": settings.judge_api_key_file}
    return settings.model_copy(update={**own, "lm_temperature": settings.judge_temperature}) if own else None
