# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.evaluate import metrics as theirs
from dspy.utils.dummies import DummyLM
from hypothesis import given
from hypothesis import strategies as st

from slipway_server.errors import ConfigInvalid, DatasetInvalid, ProgramInvalid
from slipway_server.evaluation import metric_named
from slipway_server.evaluation.metrics import contains, exact_match, token_f1


@pytest.mark.parametrize(
    ("metric", "prediction", "answer", "score"),
    [
        (exact_match, "The  Eiffel Tower!", "eiffel tower", 1.0),
        (exact_match, "Paris, France", "Paris", 0.0),
        (token_f1, "Eiffel Tower is in Paris", "Paris", 2 * (1 / 5) * 1 / (1 / 5 + 1)),
        (token_f1, "a b b", "b b c", 2 * 2 / (2 + 3)),
        (token_f1, "", "x", 0.0),
        (token_f1, "the", "a", 1.0),
        (contains, "It is in Paris, France.", "the Paris", 1.0),
        (contains, "parison", "paris", 0.0),
    ],
)
def test_scores(metric: Any, prediction: str, answer: str, score: float) -> None:
    assert metric(prediction, answer) == pytest.approx(score)


words = st.text(alphabet="ab the,.É ", max_size=12)


@given(words, words)
def test_they_agree_with_those_of_dspy(prediction: str, answer: str) -> None:
    assert exact_match(prediction, answer) == theirs.EM(prediction, [answer])
    if theirs.normalize_text(prediction) and theirs.normalize_text(answer):
        assert token_f1(prediction, answer) == pytest.approx(theirs.F1(prediction, [answer]))


def example(**values: Any) -> dspy.Example:
    return dspy.Example(question="q", **values).with_inputs("question")


def test_the_best_of_several_answers_counts() -> None:
    assert metric_named("exact-match")(example(answer=["x", "Two", "2"]), dspy.Prediction(answer="2")) == 1.0
    assert metric_named("exact-match")(example(answer=[]), dspy.Prediction(answer="2")) == 0.0


def test_the_compared_field() -> None:
    metric = metric_named("exact-match")
    assert metric(example(answer="a", reasoning="r"), dspy.Prediction(answer="a")) == 1.0
    assert metric(example(reply="a"), dspy.Prediction(reply="a")) == 1.0
    assert metric(example(reply="a"), dspy.Prediction(answer="a")) == 0.0
    with pytest.raises(DatasetInvalid, match="which of reply, tone to compare"):
        metric(example(reply="a", tone="b"), dspy.Prediction(reply="a"))


def half(example: Any, prediction: Any, trace: Any = None) -> dspy.Prediction:
    return dspy.Prediction(score=0.5, feedback="half of it")


def raises(example: Any, prediction: Any, trace: Any = None) -> float:
    raise KeyError("nosuch")


def too_much(example: Any, prediction: Any, trace: Any = None) -> float:
    return 3.0


def without_score(example: Any, prediction: Any, trace: Any = None) -> dspy.Prediction:
    return dspy.Prediction(feedback="half of it")


def no_trace(example: Any, prediction: Any) -> float:
    return 1.0


NOT_CALLABLE = 1


def test_a_function_of_the_user() -> None:
    metric = metric_named(f"{__name__}:half")
    assert metric.blocking
    assert metric.score(example(), dspy.Prediction()).feedback == "half of it"
    assert metric(example(), dspy.Prediction()) == 0.5


@pytest.mark.parametrize(
    ("name", "error", "hint"),
    [
        ("nosuch", ConfigInvalid, "there are exact-match, token-f1"),
        (f"{__name__}:nosuch", ProgramInvalid, "has no nosuch"),
        (f"{__name__}:no_trace", ProgramInvalid, r"must take \(example, prediction, trace=None\)"),
        (f"{__name__}:NOT_CALLABLE", ProgramInvalid, "is not a function"),
    ],
)
def test_what_is_no_metric(name: str, error: type[Exception], hint: str) -> None:
    with pytest.raises(error, match=hint):
        metric_named(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("raises", "raised KeyError: 'nosuch'"),
        ("too_much", "from 0 to 1"),
        ("without_score", "raised AttributeError: .*score"),
    ],
)
def test_a_metric_that_misbehaves(name: str, hint: str) -> None:
    with pytest.raises(ProgramInvalid, match=hint):
        metric_named(f"{__name__}:{name}")(example(), dspy.Prediction())


def test_semantic_f1_asks_the_lm() -> None:
    lm = DummyLM([{"reasoning": "r", "recall": "0.5", "precision": "1.0"}])
    with dspy.context(lm=lm):
        score = metric_named("semantic-f1")(example(answer="long"), dspy.Prediction(answer="short"))
    assert score == pytest.approx(2 / 3)
