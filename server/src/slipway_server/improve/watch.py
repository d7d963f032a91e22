# SPDX-License-Identifier: Apache-2.0
"""Watches what an optimizer does with a program.

DSPy's optimizers count a run that failed, for whatever reason, as a bad score. The watch counts runs and their failures
by reason, ends a compilation that infrastructure errors make meaningless, and knows why nothing was bootstrapped.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from slipway_server import request
from slipway_server.errors import (
    AnswerUnparseable,
    CallerError,
    CompileFailed,
    OperatorError,
    ProgramFailed,
    RunVoid,
    SlipwayError,
)
from slipway_server.evaluation import Metric
from slipway_server.runtime.failures import as_slipway_error

VOID_ABOVE = 0.02
_AT_LEAST = 50
"""Early in a compilation the share of failures is of at least so many runs."""


class Stopped(BaseException):
    """Ends an optimizer at once: DSPy swallows every Exception of a program."""


class Watch(BaseCallback):
    """Callback that follows the runs of `program_class`; `reported` hears of each.

    `void`: the error that makes the compilation meaningless, if there is one.
    """

    def __init__(self, program_class: type[Any], reported: Callable[[int], None] | None = None) -> None:
        self._class = program_class
        self._reported = reported
        self._lock = threading.Lock()
        self._open: set[str] = set()
        self.runs = 0
        self.failures: Counter[str] = Counter()
        """Runs that failed because of the program or the LM's answer, by reason."""
        self.infrastructure: Counter[str] = Counter()
        self.void: SlipwayError | None = None

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Note the start of a run; a nested module is none."""
        if isinstance(instance, self._class):
            if self.void is not None:
                raise Stopped
            with self._lock:
                self._open.add(call_id)

    def on_module_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        """Count the run and, where it failed, why."""
        with self._lock:
            if call_id not in self._open:
                return
            self._open.remove(call_id)
            self.runs += 1
            if isinstance(exception, Exception):
                self._count(as_slipway_error(exception, request.current()))
        if self._reported is not None:
            self._reported(self.runs)

    def check(self) -> None:
        """Raise what made the compilation void, counting the share of failures over all runs."""
        if self.void is None and sum(self.infrastructure.values()) > VOID_ABOVE * self.runs:
            self.void = self._too_many()
        if self.void is not None:
            raise self.void

    def _count(self, error: SlipwayError) -> None:
        if isinstance(error, AnswerUnparseable | ProgramFailed | CallerError):
            self.failures[error.reason] += 1
        elif isinstance(error, OperatorError):
            self.void = error
        else:
            self.infrastructure[error.reason] += 1
            if sum(self.infrastructure.values()) > VOID_ABOVE * max(self.runs, _AT_LEAST):
                self.void = self._too_many()

    def _too_many(self) -> RunVoid:
        return RunVoid(
            f"the compilation is void: {sum(self.infrastructure.values())} of {self.runs} runs failed for "
            f"infrastructure reasons ({', '.join(sorted(self.infrastructure))}), more than {VOID_ABOVE:.0%}; "
            "run it again when the provider answers: what it has answered is in the cache"
        )


class Bootstrapping:
    """A metric as optimizers call it, which remembers what became of the traces that it was shown.

    DSPy passes a trace when it looks for demos, and none when it scores a candidate.
    """

    def __init__(self, metric: Metric, threshold: float) -> None:
        self._metric = metric
        self._threshold = threshold
        self._lock = threading.Lock()
        self.shown = 0
        self.passed = 0
        self.best = 0.0

    def __call__(self, example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        """The score, from 0 to 1."""
        score = self._metric(example, prediction)
        if trace is not None:
            with self._lock:
                self.shown += 1
                self.passed += score >= self._threshold
                self.best = max(self.best, score)
        return score

    def nothing_bootstrapped(self, watch: Watch, program: dspy.Module) -> CompileFailed:
        """The error that says why there are no bootstrapped demos."""
        if not watch.runs:
            why = "the program was not run once"
        elif not self.shown:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in watch.failures.most_common())
            why = f"all {watch.runs} runs failed ({reasons}); the log has them"
        elif not self.passed:
            why = (
                f"metric '{self._metric.name}' passed none of {self.shown} answers (the best has {self.best:.2f}, "
                f"{self._threshold:g} are needed); choose another metric, --set metric_threshold=… or a stronger LM"
            )
        else:
            why = "no predictor of the program took part in its runs; does it run copies of its modules?"
        return CompileFailed(f"bootstrapped 0 traces: {why}{_left_over(program)}")


def _left_over(program: dspy.Module) -> str:
    """What the demos without traces lack, as in ", without context"."""
    for name, predictor in program.named_predictors():
        lacking = [field for field in predictor.signature.fields if all(field not in demo for demo in predictor.demos)]
        if predictor.demos and lacking:
            return f"; '{name}' would be left with {len(predictor.demos)} labelled demos without {', '.join(lacking)}"
    return ""
