# SPDX-License-Identifier: Apache-2.0
"""Runs one optimizer on one program, watched and quiet.

    done = optimize(find("bootstrap-few-shot"), task, settings, metric)

DSPy's current settings (LM, adapter) are used as they are. What the optimizer prints goes to `optimizer.log` in the
task's log folder. The outcome depends on DSPy, the LM and the seed only.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dspy

from slipway_server.artifacts import state as states
from slipway_server.errors import CompileFailed
from slipway_server.evaluation import Metric
from slipway_server.improve.optimizers import THRESHOLD, Optimizer, Settings, Task
from slipway_server.improve.watch import Bootstrapping, Stopped, Watch
from slipway_server.lm.errors import translate

LOG_NAME = "optimizer.log"
SELECTION_SHARE = 0.5
SELECTION_MOST = 300
_JOIN_SECONDS = 10.0
_NEVER = 10**9
"""DSPy gives up after 10 failed runs whatever their reason; the watch judges instead."""


@dataclass(frozen=True, slots=True)
class Optimized:
    """The optimizer's result, its number of program runs and how many of them gave no usable answer."""

    state: states.State
    runs: int
    failed_runs: int


def split(
    examples: Sequence[dspy.Example], seed: int, *, selects: bool
) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """Shuffle by `seed`; where the optimizer selects among candidates, keep half, at most 300, for that.

    DSPy's few-shot optimizers have no seed of their own: the order of the examples is what they depend on.
    """
    shuffled = list(examples)
    random.Random(seed).shuffle(shuffled)
    if not selects:
        return shuffled, []
    kept = min(SELECTION_MOST, int(len(shuffled) * SELECTION_SHARE))
    if not kept:
        raise CompileFailed("two training examples at least are needed, one of them to select candidates with")
    return shuffled[kept:], shuffled[:kept]


def with_feedback(metric: Metric) -> Callable[..., Any]:
    """`metric` as GEPA calls it, with expected and given answers in words where the metric has none of its own."""

    def judged(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        score = metric.score(gold, pred)
        labels = gold.labels().items()
        expected = ", ".join(f"{name} = {value!r}" for name, value in labels)
        given = ", ".join(f"{name} = {getattr(pred, name, None)!r}" for name, _ in labels)
        words = score.feedback or f"Score {score.value:.2f}. Expected {expected}; the program answered {given}."
        return dspy.Prediction(score=score.value, feedback=words)

    return judged


def optimize(
    optimizer: Optimizer,
    task: Task,
    settings: Settings,
    metric: Metric,
    *,
    on_runs: Callable[[int], None] | None = None,
) -> Optimized:
    """Run `optimizer` on `task`; the program itself is not changed.

    Raises:
        RunVoid: Infrastructure errors, more than 2 % of the runs.
        CompileFailed: The optimizer refused its task, or bootstrapped nothing where traces are expected.
        SlipwayError: The deployment is wrong, or the provider did not answer the optimizer's own question.
    """
    watch = Watch(type(task.program), on_runs)
    threshold = settings.get("metric_threshold", THRESHOLD)
    bootstrapping = Bootstrapping(metric, threshold if isinstance(threshold, int | float) else THRESHOLD)
    watched = replace(task, metric=bootstrapping)
    callbacks = [*(dspy.settings.callbacks or []), watch]
    others = set(threading.enumerate())
    with (
        _quiet(task.log_dir / LOG_NAME),
        dspy.context(callbacks=callbacks, max_errors=_NEVER, num_threads=task.threads, trace=[]),
    ):
        try:
            program = optimizer.run(watched, settings)
        except Stopped:
            _join(set(threading.enumerate()) - others)
            watch.check()
            raise
        except Exception as error:
            watch.check()
            line = f"the optimizer gave up: {_line(error)} (see {task.log_dir / LOG_NAME})"
            raise translate(error) or CompileFailed(line) from error
    watch.check()
    expected = optimizer.bootstraps and settings.get("max_bootstrapped_demos", 1) != 0
    if expected and not (bootstrapping.passed if optimizer.selects else _has_bootstrapped_demos(program)):
        raise bootstrapping.nothing_bootstrapped(watch, program)
    return Optimized(states.dump(program), watch.runs, sum(watch.failures.values()))


def _has_bootstrapped_demos(program: dspy.Module) -> bool:
    """Asked of what bootstraps only: a search may rightly prefer a candidate without any demo."""
    return any(states.AUGMENTED in demo for predictor in program.predictors() for demo in predictor.demos)


def _join(left_behind: set[threading.Thread]) -> None:
    """Wait for DSPy's runs under way, as it does not: they would print once output is no longer redirected."""
    deadline = time.monotonic() + _JOIN_SECONDS
    for thread in left_behind:
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(max(0.0, deadline - time.monotonic()))


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """What is printed meanwhile, by any thread, goes to the file at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        yield
