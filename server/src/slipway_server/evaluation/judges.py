# SPDX-License-Identifier: Apache-2.0
"""Judges: metrics that need no labels, pinned, so that two scores of different days mean the same.

    judge = judge_named("groundedness", model="openai/gpt-4o-mini", temperature=0.0, lm=lm)
    judge.metric(example, prediction); judge.pin.digest

`groundedness` is the half of DSPy's CompleteAndGrounded that needs no right answer: the share of the answer that its
passages support (dspy/evaluate/auto_evaluation.py).
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import dspy
import orjson
from dspy.evaluate.auto_evaluation import AnswerGroundedness

from slipway_server.errors import ConfigInvalid
from slipway_server.evaluation.metrics import PREFERRED_FIELD, Metric, metric_named

GROUNDEDNESS = "groundedness"
CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Pin:
    """What a score depends on besides the answer. `prompt`: hash of the judge's prompt, or of its function's source."""

    metric: str
    model: str
    temperature: float
    prompt: str
    dspy: str

    @property
    def digest(self) -> str:
        """sha256 over all of it, in hex."""
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Judge:
    """`metric` scores; `needs` are the fields of a prediction that it cannot do without."""

    metric: Metric
    pin: Pin
    needs: tuple[str, ...]


def judge_named(name: str, *, model: str, temperature: float, lm: Any) -> Judge:
    """`groundedness`, or the user's `module:function` (called as a metric, with `lm` as DSPy's LM).

    Raises:
        ConfigInvalid: Another name; metrics that compare with labels do not judge live answers.
        ProgramInvalid: The function cannot be imported or called so.
    """
    needs: tuple[str, ...] = ()
    if name == GROUNDEDNESS:
        function, prompt, needs = _groundedness(), _prompt_hash(AnswerGroundedness), (CONTEXT,)
    elif ":" in name:
        own = metric_named(name)
        function, prompt = own.function, _source_hash(own.function)
    else:
        raise ConfigInvalid(
            f"'{name}' is no judge of live answers, which have no labels; there are {GROUNDEDNESS} and module:function",
            key="SLIPWAY_JUDGE_METRIC",
        )
    pin = Pin(name, model, temperature, prompt, dspy.__version__)
    return Judge(Metric(name, _with_lm(function, lm), blocking=True), pin, needs)


def _groundedness() -> Callable[..., float]:
    judge = dspy.ChainOfThought(AnswerGroundedness)

    def function(example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        context = prediction[CONTEXT]
        judged = judge(
            question=question_of(example),
            retrieved_context="\n\n".join(context) if isinstance(context, list) else str(context),
            system_response=answer_of(prediction),
        )
        return min(1.0, max(0.0, float(judged.groundedness)))

    return function


def question_of(example: dspy.Example) -> str:
    """The field `question`, or all inputs in one text."""
    if "question" in example:
        return str(example.question)
    return "\n".join(f"{name}: {value}" for name, value in example.items())


def answer_of(prediction: Any) -> str:
    """The field `answer`, or all outputs in one text."""
    if PREFERRED_FIELD in prediction:
        return str(prediction[PREFERRED_FIELD])
    return "\n".join(f"{name}: {value}" for name, value in prediction.items() if name != CONTEXT)


def _with_lm(function: Callable[..., Any], lm: Any) -> Callable[..., Any]:
    def judged(example: dspy.Example, prediction: Any, trace: Any = None) -> Any:
        with dspy.context(lm=lm):
            return function(example, prediction, trace)

    return judged


def _prompt_hash(signature: Any) -> str:
    fields = {
        name: [str(field.annotation), (field.json_schema_extra or {}).get("desc")]
        for name, field in signature.fields.items()
    }
    return hashlib.sha256(orjson.dumps([signature.instructions, fields])).hexdigest()


def _source_hash(function: Callable[..., Any]) -> str:
    """Of the whole module, since a function may use the rest of it."""
    module = inspect.getmodule(function)
    try:
        source = inspect.getsource(module if module is not None else function)
    except (OSError, TypeError):
        source = repr(function)
    return hashlib.sha256(source.encode()).hexdigest()
