# SPDX-License-Identifier: Apache-2.0
"""What a new artifact will cost at the switch: which questions the cache answers now, and which then.

    found = forecast(session, current, new, questions)
    found.becomes_cold, found.calls_per_minute(rpm=120).after

Every question is run under both artifacts with the shared cache, retrieval included; an LM call that is not in the
cache ends the run, so nothing is asked upstream. A program's calls after its first miss are not known, because their
prompts depend on the missing answer: as many are assumed as complete runs of it made, or else one for each predictor.

The figures are those of the first time that the questions come, in their order; the second time each is a hit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import dspy

from slipway_server import request
from slipway_server.cache.probe import Probe, Seen
from slipway_server.errors import CallerError, FailureError
from slipway_server.request import RequestContext, TrafficClass
from slipway_server.runtime.failures import as_slipway_error
from slipway_server.runtime.fields import InputFields
from slipway_server.runtime.session import Session

CONCURRENCY = 8

Questions = Sequence[Mapping[str, Any]]
Progress = Callable[[int, int], None]
"""Called with the runs done, and all."""


class Rates(NamedTuple):
    """LM calls per minute, under the current artifact and under the new one."""

    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Pass:
    """One artifact and the questions, in order. `needed`: LM calls past the cache, None where it cannot be asked."""

    needed: Sequence[int | None]
    exact: bool
    """Whether programs make one call only, or every run was complete; else the calls after a miss are assumed."""

    @property
    def calls(self) -> int:
        """Of all questions."""
        return sum(count for count in self.needed if count)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Both passes over the same questions."""

    before: Pass
    after: Pass

    @property
    def questions(self) -> int:
        """Questions that could be asked."""
        return sum(count is not None for count in self.after.needed)

    @property
    def skipped(self) -> int:
        """Lines that are no questions to this program, or on which it fails."""
        return len(self.after.needed) - self.questions

    @property
    def becomes_cold(self) -> int:
        """Questions that the cache answers now, and will not answer."""
        return sum(then == 0 and bool(now) for then, now in zip(self.before.needed, self.after.needed, strict=True))

    @property
    def cold(self) -> int:
        """Questions that need the LM under the new artifact."""
        return sum(bool(count) for count in self.after.needed)

    def calls_per_minute(self, rpm: float) -> Rates:
        """At so many questions per minute, as long as they are asked for the first time."""
        if not self.questions:
            return Rates(0.0, 0.0)
        return Rates(rpm * self.before.calls / self.questions, rpm * self.after.calls / self.questions)


def forecast(
    session: Session,
    current: dspy.Module,
    new: dspy.Module,
    questions: Questions,
    on_progress: Progress = lambda done, total: None,
) -> Forecast:
    """Run the questions under both artifacts, asking nobody but cache and collection.

    Raises OperatorError, UnavailableError where the collection cannot be searched.
    """
    asked = len(questions)
    before = _pass(session, current, questions, lambda done: on_progress(done, 2 * asked))
    after = _pass(session, new, questions, lambda done: on_progress(asked + done, 2 * asked))
    return Forecast(before, after)


def _pass(session: Session, program: dspy.Module, questions: Questions, on_done: Callable[[int], None]) -> Pass:
    probe = Probe(session.stack.cache)
    with dspy.context(lm=session.lm_stack.lm.with_flight(probe)):
        seen = session.run(_asked(session, program, probe, questions, on_done))
    complete = [one.warm for one in seen if one is not None and not one.cold]
    depth = max(complete, default=len(program.predictors()))
    known: set[str] = set()
    return Pass([_needed(one, depth, known) for one in seen], exact=depth <= 1 or len(complete) == len(seen))


def _needed(seen: Seen | None, depth: int, known: set[str]) -> int | None:
    """Calls of one question past the cache; none where an earlier question has made the same call."""
    if seen is None:
        return None
    fresh = [digest for digest in seen.cold if digest not in known]
    known.update(digest for digest in fresh if digest)
    return max(1, depth - seen.warm) if fresh else 0


async def _asked(
    session: Session, program: dspy.Module, probe: Probe, questions: Questions, on_done: Callable[[int], None]
) -> list[Seen | None]:
    fields, invoke = InputFields.of(program), session.invoker(program)
    found: dict[int, Seen | None] = {}
    waiting = iter(enumerate(questions))

    async def worker() -> None:
        for number, inputs in waiting:
            found[number] = await one(RequestContext(f"forecast-{number}", traffic_class=TrafficClass.BATCH), inputs)
            on_done(len(found))

    async def one(context: RequestContext, inputs: Mapping[str, Any]) -> Seen | None:
        seen = probe.seen[context.request_id]
        with request.opened(context):
            try:
                await invoke(fields.checked(inputs))
            except CallerError:
                return None
            except Exception as error:
                if seen.cold:
                    return seen
                known = as_slipway_error(error, context)
                if isinstance(known, FailureError):
                    return None
                raise known from error
        return seen

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return [found[number] for number in sorted(found)]
