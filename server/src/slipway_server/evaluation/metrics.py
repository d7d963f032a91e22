# SPDX-License-Identifier: Apache-2.0
"""Metrics by name: how well a prediction agrees with an example, from 0 to 1.

    metric = metric_named("token-f1")                       # or "my.module:function"
    metric(example, prediction)                             # 0.667

`exact-match` and `token-f1` are those of SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250): compared are lower-case words
without punctuation and articles. An example's label may be a list of acceptable answers; the best one counts. Compared
is the field `answer` where the example has it, else its only label.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.evaluate.metrics import normalize_text
from dspy.utils.exceptions import DSPyError

from slipway_server.errors import ConfigInvalid, DatasetInvalid, ProgramInvalid, SlipwayError
from slipway_server.runtime.imports import import_attribute

PREFERRED_FIELD = "answer"


@dataclass(frozen=True, slots=True)
class Score:
    """A score from 0 to 1 and, where the metric has any, words for an optimizer that reads them."""

    value: float
    feedback: str = ""


@dataclass(frozen=True)
class Metric:
    """A named metric. `blocking`: it may wait, for an LM or a file, so a loop calls it in a thread."""

    name: str
    function: Callable[..., Any]
    blocking: bool = False

    def __call__(self, example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        """The score from 0 to 1. Raises ProgramInvalid where the function returns something else."""
        return self.score(example, prediction, trace).value

    def score(self, example: dspy.Example, prediction: Any, trace: Any = None) -> Score:
        """The score with its feedback. Takes a bool, a number, or a dspy.Prediction with `score` and `feedback`."""
        try:
            result, feedback = self.function(example, prediction, trace), ""
            if isinstance(result, dspy.Prediction):
                result, feedback = result.score, str(result.get("feedback") or "")
        except (SlipwayError, DSPyError):
            raise
        except Exception as error:
            raise ProgramInvalid(f"metric '{self.name}' raised {type(error).__name__}: {error!s:.200}") from error
        if not isinstance(result, bool | int | float) or not 0 <= result <= 1:
            raise ProgramInvalid(f"metric '{self.name}' must return a bool or a number from 0 to 1, got {result!r:.80}")
        return Score(float(result), feedback)


def exact_match(prediction: str, answer: str) -> float:
    """1 where the normalised texts are equal."""
    return float(normalize_text(prediction) == normalize_text(answer))


def token_f1(prediction: str, answer: str) -> float:
    """Harmonic mean of precision and recall of the normalised words."""
    predicted, expected = normalize_text(prediction).split(), normalize_text(answer).split()
    if not predicted or not expected:
        return float(predicted == expected)
    common = sum((Counter(predicted) & Counter(expected)).values())
    return 2 * common / (len(predicted) + len(expected))


def contains(prediction: str, answer: str) -> float:
    """1 where the normalised answer occurs in the normalised prediction, as whole words."""
    return float(f" {normalize_text(answer)} " in f" {normalize_text(prediction)} ")


def _compared(compare: Callable[[str, str], float]) -> Callable[..., float]:
    def function(example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        field = _field(example)
        expected = example[field]
        predicted = getattr(prediction, field, None)
        if predicted is None:
            return 0.0
        answers = expected if isinstance(expected, list) else [expected]
        return max((compare(str(predicted), str(answer)) for answer in answers), default=0.0)

    return function


def _field(example: dspy.Example) -> str:
    labels = example.labels().keys()
    if PREFERRED_FIELD in labels:
        return PREFERRED_FIELD
    if len(labels) != 1:
        raise DatasetInvalid(
            f"the metric does not know which of {', '.join(labels) or 'no labels'} to compare; "
            "name a function with --metric module:function"
        )
    return str(labels[0])


def _semantic_f1() -> Metric:
    judge = dspy.evaluate.SemanticF1()

    def function(example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        field = _field(example)
        asked = dspy.Example(question=example.question, response=example[field])
        return float(judge(asked, dspy.Prediction(response=getattr(prediction, field, ""))).score)

    return Metric("semantic-f1", function, blocking=True)


METRICS: dict[str, Callable[[], Metric]] = {
    "exact-match": lambda: Metric("exact-match", _compared(exact_match)),
    "token-f1": lambda: Metric("token-f1", _compared(token_f1)),
    "contains": lambda: Metric("contains", _compared(contains)),
    "semantic-f1": _semantic_f1,
}
"""Name → maker. semantic-f1 is dspy.evaluate.SemanticF1: the configured LM judges, which costs a call per example."""


def metric_named(name: str) -> Metric:
    """The metric called `name`, or the function at `package.module:function`, which takes (example, prediction, trace).

    Raises:
        ConfigInvalid: No such metric.
        ProgramInvalid: The function cannot be imported or called so.
    """
    if name in METRICS:
        return METRICS[name]()
    if ":" not in name:
        raise ConfigInvalid(f"unknown metric '{name}'; there are {', '.join(METRICS)} and package.module:function")
    function = import_attribute(name)
    if not callable(function):
        raise ProgramInvalid(f"'{name}' is not a function")
    try:
        inspect.signature(function).bind(None, None, None)
    except (TypeError, ValueError):
        raise ProgramInvalid(f"metric '{name}' must take (example, prediction, trace=None)") from None
    return Metric(name, function, blocking=True)
