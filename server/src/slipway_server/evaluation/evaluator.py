# SPDX-License-Identifier: Apache-2.0
"""Runs a program over examples and scores what it answers.

    result = await evaluate(invoke, examples, metric, on_progress=lambda done, total: …)

DSPy's own Evaluate counts every exception as a score of 0, so that a provider's outage looks like bad quality. Here an
example has one of three outcomes: it was scored, its answer could not be used (a parse error; counts as 0), or
something else was at fault (an infrastructure error; counts for nothing). Above 2 % of the last the run is void and
stops at once. Answers come past the cache, so that a provider's drift shows.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import dspy

from slipway_server import request
from slipway_server.errors import (
    AnswerUnparseable,
    CallerError,
    ContextTooLong,
    OperatorError,
    ProgramFailed,
    RunVoid,
    SlipwayError,
)
from slipway_server.evaluation.metrics import Metric
from slipway_server.evaluation.statistics import Comparison, Interval, compare_scores, interval_of, mean
from slipway_server.request import RequestContext, TrafficClass
from slipway_server.runtime.failures import as_slipway_error
from slipway_server.runtime.invoke import Invoke

_HOPELESS: dict[type[SlipwayError], str] = {
    ProgramFailed: "the program raised an exception, which the log has,",
    ContextTooLong: "the prompt was longer than the model's context window",
}
"""What says nothing about quality where every example meets it."""

Progress = Callable[[int, int], None]
"""Called with the number of finished examples and of all, after each."""


@dataclass(frozen=True, slots=True)
class EvaluatorConfig:
    """`concurrency`: examples under way at once; the governor's limits come on top. `void_above`: a share of all.

    `warm_up`: run the first example once beforehand, so that opening connections and collections is in no latency.
    """

    concurrency: int = 16
    use_cache: bool = False
    void_above: float = 0.02
    warm_up: bool = True


class Outcome(StrEnum):
    """What became of an example."""

    SCORED = "scored"
    PARSE_ERROR = "parse_error"
    INFRASTRUCTURE_ERROR = "infrastructure_error"


@dataclass(frozen=True, slots=True)
class Item:
    """One example's outcome. `reason`: of docs/errors.md, where it was not scored. `cost_usd`: None where unknown."""

    outcome: Outcome
    score: float | None
    reason: str
    latency_seconds: float
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    lm_calls: int


@dataclass(frozen=True)
class Evaluation:
    """One run over a dataset; `items` in the order of the examples. Means are over the examples that count."""

    metric: str
    items: Sequence[Item]

    @cached_property
    def scores(self) -> list[float]:
        """Of the examples that count, parse errors as 0."""
        return [item.score for item in self.items if item.score is not None]

    @property
    def n(self) -> int:
        """Examples that count."""
        return len(self.scores)

    @cached_property
    def score(self) -> float:
        """Mean score, from 0 to 1."""
        return mean(self.scores)

    @cached_property
    def interval(self) -> Interval:
        """95 % interval of the score."""
        return interval_of(self.scores)

    def count(self, outcome: Outcome) -> int:
        """Examples with this outcome."""
        return sum(item.outcome is outcome for item in self.items)

    @property
    def prompt_tokens(self) -> float:
        """Per example."""
        return mean([item.prompt_tokens for item in self._counting])

    @property
    def completion_tokens(self) -> float:
        """Per example."""
        return mean([item.completion_tokens for item in self._counting])

    @property
    def lm_calls(self) -> float:
        """Per example."""
        return mean([item.lm_calls for item in self._counting])

    @property
    def cost_usd(self) -> float | None:
        """Per example; None unless every example's cost is known (SLIPWAY_LM_PRICES)."""
        costs = [item.cost_usd for item in self._counting]
        return None if None in costs else mean([cost for cost in costs if cost is not None])

    def latency_seconds(self, quantile: float) -> float:
        """Time that this share of examples took at most, queueing included; 0.5 is the median."""
        ordered = sorted(item.latency_seconds for item in self._counting)
        return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)] if ordered else math.nan

    @cached_property
    def _counting(self) -> list[Item]:
        return [item for item in self.items if item.score is not None]


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Second against first, over the examples that count in both; both are of the same dataset."""
    pairs = [
        (a.score, b.score)
        for a, b in zip(first.items, second.items, strict=True)
        if a.score is not None and b.score is not None
    ]
    return compare_scores([a for a, _ in pairs], [b for _, b in pairs])


async def evaluate(
    invoke: Invoke,
    examples: Sequence[dspy.Example],
    metric: Metric,
    *,
    config: EvaluatorConfig | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Run and score every example, on the loop that owns the governor.

    Args:
        invoke: Runs the program, as runtime.invoke makes it.
        examples: With inputs marked.
        metric: Of evaluation.metrics.
        config: None means the defaults.
        on_progress: Called after each example.

    Raises:
        RunVoid: More than `void_above` of the examples met infrastructure errors, or the program failed on every one.
        OperatorError: The deployment is wrong (key, model, collection); nothing more is asked.
    """
    config = config or EvaluatorConfig()
    items: dict[int, Item] = {}
    failures: list[Item] = []
    work = iter(enumerate(examples))
    if config.warm_up and examples:
        await _run(invoke, examples[0], metric, config)

    async def worker() -> None:
        for index, example in work:
            items[index] = item = await _run(invoke, example, metric, config)
            if item.outcome is Outcome.INFRASTRUCTURE_ERROR:
                failures.append(item)
                _stop_if_void(failures, len(examples), config)
            if on_progress is not None:
                on_progress(len(items), len(examples))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(config.concurrency, len(examples))):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    done = [items[index] for index in sorted(items)]
    for error, what in _HOPELESS.items():
        if done and all(item.reason == error.reason for item in done):
            raise RunVoid(f"{what} for all {len(done)} examples")
    return Evaluation(metric.name, done)


async def _run(invoke: Invoke, example: dspy.Example, metric: Metric, config: EvaluatorConfig) -> Item:
    context = RequestContext(traffic_class=TrafficClass.EVALUATION, use_cache=config.use_cache)
    score, reason = None, ""
    started = time.perf_counter()
    with request.opened(context), dspy.context(trace=[]):
        try:
            prediction = await invoke(dict(example.inputs()))
            outcome = Outcome.SCORED
        except Exception as error:
            outcome, reason = _judged(as_slipway_error(error, context))
        elapsed = time.perf_counter() - started
        account = context.account
        used = account.prompt_tokens, account.completion_tokens, account.cost_usd, account.lm_calls
        if outcome is Outcome.SCORED:
            try:
                score = await _scored(metric, example, prediction)
            except Exception as error:
                _, reason = _judged(as_slipway_error(error, context))
                outcome = Outcome.INFRASTRUCTURE_ERROR
    if outcome is Outcome.PARSE_ERROR:
        score = 0.0
    return Item(outcome, score, reason, elapsed, *used)


async def _scored(metric: Metric, example: dspy.Example, prediction: object) -> float:
    if metric.blocking:
        return await asyncio.to_thread(metric, example, prediction)
    return metric(example, prediction)


def _judged(error: SlipwayError) -> tuple[Outcome, str]:
    """Outcome and reason of a failed run. Raises `error` where every further example would meet it, too."""
    if isinstance(error, AnswerUnparseable | ProgramFailed | CallerError):
        return Outcome.PARSE_ERROR, error.reason
    if isinstance(error, OperatorError):
        raise error
    return Outcome.INFRASTRUCTURE_ERROR, error.reason


def _stop_if_void(failed: Sequence[Item], total: int, config: EvaluatorConfig) -> None:
    if len(failed) > config.void_above * total:
        reasons = ", ".join(sorted({item.reason for item in failed}))
        raise RunVoid(
            f"the run is void: {len(failed)} of {total} examples failed for infrastructure reasons ({reasons}), "
            f"more than {config.void_above:.0%}; run it again when the provider answers"
        )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the run: an expected one where there is any."""
    leaves = list(_leaves(errors))
    return next((leaf for leaf in leaves if isinstance(leaf, SlipwayError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
