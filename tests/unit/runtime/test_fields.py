# SPDX-License-Identifier: Apache-2.0
"""A program's fields are found, and wrong inputs name the field."""

from __future__ import annotations

from typing import Any, Literal

import dspy
import programs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.errors import CallerError, InputEmpty, InputMissingField, InputUnknownField, InputWrongType
from slipway_server.runtime.fields import InputFields, jsonable, output_names


class Typed(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question: str, k: int, tags: list[str] -> answer: str, sure: bool")

    async def aforward(
        self, question: str, k: int = 3, tags: list[str] | None = None, mode: Literal["a", "b"] = "a"
    ) -> Any:
        return await self.answer.acall(question=question, k=k, tags=tags)


class Untyped(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generate_answer = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question):  # type: ignore[no-untyped-def]
        return self.generate_answer(context=[], question=question)


@pytest.fixture
def fields() -> InputFields:
    return InputFields.of(Typed())


def test_parameters_give_the_fields_and_what_is_optional(fields: InputFields) -> None:
    assert fields.names == ["question", "k", "tags", "mode"]
    assert fields.checked({"question": "Who?"}) == {"question": "Who?"}


def test_whole_doubles_of_a_struct_are_integers(fields: InputFields) -> None:
    assert fields.checked({"question": "Who?", "k": 5.0})["k"] == 5


def test_a_parameter_without_annotation_takes_its_predictors_type() -> None:
    with pytest.raises(InputWrongType, match="'question'"):
        InputFields.of(Untyped()).checked({"question": 3.0})


def test_a_bare_predictor_takes_its_signatures_fields() -> None:
    fields = InputFields.of(dspy.ChainOfThought("question, hint -> answer"))
    assert fields.names == ["question", "hint"]
    assert output_names(dspy.ChainOfThought("question, hint -> answer")) == ["reasoning", "answer"]


def test_a_react_agent_takes_its_own_signatures_fields() -> None:
    def search(query: str) -> str:
        """Search."""
        return query

    agent = dspy.ReAct("question -> answer", tools=[search])
    assert InputFields.of(agent).names == ["question"]
    assert output_names(agent) == ["answer"]


@pytest.mark.parametrize(
    ("inputs", "error", "field"),
    [
        ({"question": "Who?", "colour": "red"}, InputUnknownField, "colour"),
        ({}, InputMissingField, "question"),
        ({"question": 7.0}, InputWrongType, "question"),
        ({"question": None}, InputWrongType, "question"),
        ({"question": "Who?", "k": "five"}, InputWrongType, "k"),
        ({"question": "Who?", "k": 2.5}, InputWrongType, "k"),
        ({"question": "Who?", "k": True}, InputWrongType, "k"),
        ({"question": "Who?", "tags": ["a", 1.0]}, InputWrongType, "tags"),
        ({"question": "Who?", "mode": "c"}, InputWrongType, "mode"),
        ({"question": " \n"}, InputEmpty, "question"),
    ],
)
def test_wrong_inputs_name_the_field(
    fields: InputFields, inputs: dict[str, Any], error: type[CallerError], field: str
) -> None:
    with pytest.raises(error) as caught:
        fields.checked(inputs)
    assert caught.value.metadata["field"] == field
    assert "\n" not in caught.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["question", "k", "tags", "mode", "other"]), json_values))
def test_any_inputs_are_taken_or_refused_as_the_callers_mistake(inputs: dict[str, Any]) -> None:
    fields = InputFields.of(Typed())
    try:
        checked = fields.checked(inputs)
    except CallerError:
        return
    assert isinstance(checked["question"], str)
    assert checked["question"].strip()


def test_probe_fills_what_is_required() -> None:
    assert set(InputFields.of(Typed()).probe() or {}) == {"question"}
    assert InputFields.of(dspy.Predict("image: dspy.Image -> answer")).probe() is None


def test_looking_at_a_program_that_has_only_forward_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr("dspy.primitives.module.logger.warning", warnings.append)
    assert InputFields.of(programs.ForwardOnly()).names == ["question"]
    assert warnings == []


def test_predictions_become_json() -> None:
    prediction = dspy.Prediction(answer="yes", score=0.5, parts=["a"], history=dspy.History(messages=[]))
    assert jsonable(prediction) == {"answer": "yes", "score": 0.5, "parts": ["a"], "history": {"messages": []}}
