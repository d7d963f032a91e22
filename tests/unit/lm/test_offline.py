# SPDX-License-Identifier: Apache-2.0
"""The extractive reader behind DSPy's engine contract."""

from __future__ import annotations

import copy
import time
from typing import Literal

import dspy
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.lm.offline import ExtractiveReader
from slipway_server.lm.offline_answer import NOTHING_FOUND, answer_messages
from slipway_server.lm.offline_tokens import estimate_tokens

PASSAGES = [
    "Walden | Walden is a book by Henry David Thoreau, first published in 1854. It has 18 chapters.",
    "Walden Pond | Walden Pond is a lake in Concord, Massachusetts. The lake is 31 metres deep.",
    "Ralph Waldo Emerson | He was an American essayist, born in Boston. He owned the land at Walden Pond.",
]
ADAPTERS = [dspy.ChatAdapter(use_json_adapter_fallback=False), dspy.JSONAdapter(), dspy.XMLAdapter()]
DEMOS = [
    dspy.Example(question="Who wrote Nature?", answer="Ralph Waldo Emerson"),
    dspy.Example(question="Is Concord a city?", answer="no"),
]


@pytest.fixture
def lm() -> dspy.LM:
    return dspy.LM("offline/extractive", engine=ExtractiveReader(), num_retries=0, cache=False)


def rag(demos: list[dspy.Example]) -> dspy.Module:
    program = dspy.ChainOfThought("context, question -> answer")
    program.predict.demos = demos
    return program


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: type(adapter).__name__)
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who wrote the book Walden?", "Henry David Thoreau"),
        ("In what year was Walden first published?", "1854"),
        ("How many chapters has Walden?", "18"),
        ("Where was Ralph Waldo Emerson born?", "Boston"),
        ("How deep is the lake of Walden Pond?", "31 metres"),
        ("Is Walden a book?", "yes"),
        ("Is Walden Pond an opera?", "no"),
    ],
)
def test_demos_turn_sentences_into_spans(lm: dspy.LM, adapter: dspy.Adapter, question: str, answer: str) -> None:
    with dspy.context(lm=lm, adapter=adapter):
        compiled = rag(DEMOS)(context=PASSAGES, question=question)
        uncompiled = rag([])(context=PASSAGES, question=question)
    assert compiled.answer == answer
    assert any(uncompiled.answer in passage for passage in PASSAGES)
    assert len(uncompiled.answer) > len(answer)
    assert uncompiled.answer in compiled.reasoning


def test_instructions_that_ask_for_a_short_answer_work_like_demos(lm: dspy.LM) -> None:
    signature = dspy.Signature("context, question -> answer", "Answer with a short factoid.")
    with dspy.context(lm=lm):
        assert dspy.Predict(signature)(context=PASSAGES, question="Who wrote the book Walden?").answer == (
            "Henry David Thoreau"
        )


def test_form_of_the_demos_answers_is_kept(lm: dspy.LM) -> None:
    demos = [dspy.Example(question="Is Concord a city?", answer="No."), dspy.Example(question="Who?", answer="Ann.")]
    with dspy.context(lm=lm):
        assert rag(demos)(context=PASSAGES, question="Is Walden a book?").answer == "Yes."


def test_long_demos_keep_the_sentence(lm: dspy.LM) -> None:
    demos = [
        dspy.Example(question="Who wrote Nature?", answer="It was written by the American essayist Ralph Emerson.")
    ]
    with dspy.context(lm=lm):
        answer = rag(demos)(context=PASSAGES, question="Who wrote the book Walden?").answer
    assert answer == "Walden is a book by Henry David Thoreau, first published in 1854."


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: type(adapter).__name__)
def test_typed_outputs_have_their_type(lm: dspy.LM, adapter: dspy.Adapter) -> None:
    signature = dspy.Signature(
        "context, question -> sure: bool, chapters: int, score: float, kind: Literal['film', 'book'], "
        "cited: list[int], names: list[str], extra: dict[str, str]",
        custom_types={"Literal": Literal},
    )
    with dspy.context(lm=lm, adapter=adapter):
        found = dspy.Predict(signature)(context=PASSAGES, question="How many chapters has the book Walden?")
    assert (found.chapters, found.kind, found.cited, found.names) == (18, "book", [1], ["18"])
    assert isinstance(found.sure, bool)
    assert 0.0 <= found.score <= 1.0
    assert found.extra == {}


class Node(pydantic.BaseModel):
    value: str
    next: Node | None
    children: list[Node]


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(use_json_adapter_fallback=False), dspy.JSONAdapter()])
def test_a_type_that_holds_itself_is_filled_once(lm: dspy.LM, adapter: dspy.Adapter) -> None:
    signature = dspy.Signature("context, question -> tree: Node", custom_types={"Node": Node})
    with dspy.context(lm=lm, adapter=adapter):
        found = dspy.Predict(signature)(context=PASSAGES, question="How many chapters has the book Walden?")
    assert found.tree == Node(value="18", next=None, children=[])


def test_brackets_without_end_are_text(lm: dspy.LM) -> None:
    with dspy.context(lm=lm):
        assert dspy.Predict("context, question -> answer")(context="[" * 100_000, question="What?").answer


def test_labels_follow_the_most_similar_demo(lm: dspy.LM) -> None:
    signature = dspy.Signature("text -> topic: Literal['sport', 'food']", custom_types={"Literal": Literal})
    program = dspy.Predict(signature)
    program.demos = [
        dspy.Example(text="The striker scored a late goal", topic="sport"),
        dspy.Example(text="The soup needs more salt", topic="food"),
    ]
    with dspy.context(lm=lm):
        assert program(text="Add salt to the stew").topic == "food"
        assert program(text="A goal in the last minute").topic == "sport"


def test_query_field_adds_names_from_the_context(lm: dspy.LM) -> None:
    with dspy.context(lm=lm):
        hop = dspy.ChainOfThought("context, question -> query")
        assert hop(context=[], question="Where was the owner of Walden Pond born?").query == "owner Walden Pond born"
        assert (
            "Henry David Thoreau" in hop(context=PASSAGES, question="Who taught the author of the book Walden?").query
        )


def test_react_searches_once_and_finishes(lm: dspy.LM) -> None:
    asked: list[str] = []

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    def search(query: str, k: int = 3) -> list[str]:
        """Search the documents."""
        asked.append(query)
        return PASSAGES

    with dspy.context(lm=lm):
        found = dspy.ReAct("question -> answer", tools=[add, search])(question="Who wrote the book Walden?")
    assert asked == ["Who wrote the book Walden?"]
    assert found.trajectory["tool_name_1"] == "finish"
    assert "Henry David Thoreau" in found.answer


def test_no_passage_is_said_so(lm: dspy.LM) -> None:
    with dspy.context(lm=lm):
        assert dspy.Predict("question -> answer")(question="Who wrote Walden?").answer == NOTHING_FOUND


def test_usage_is_estimated_and_max_tokens_cuts(lm: dspy.LM) -> None:
    reader = ExtractiveReader()
    text = "Walden is a book by Henry David Thoreau.\n\nWho wrote Walden?"
    request = dspy.lm15.Request(model="offline/extractive", messages=(dspy.lm15.Message.user(text),))
    response = reader.complete(request)
    assert response.text == "Walden is a book by Henry David Thoreau."
    assert (response.usage.input_tokens, response.usage.output_tokens) == (estimate_tokens(text), 10)
    short = dspy.lm15.Request(
        model="offline/extractive",
        messages=(dspy.lm15.Message.user(text),),
        config=dspy.lm15.Config(max_tokens=3),
    )
    assert (reader.complete(short).text, reader.complete(short).finish_reason) == ("Walden is a ", "length")


def test_streams_the_same_answer() -> None:
    request = dspy.lm15.Request(model="m", messages=(dspy.lm15.Message.user("Ann is a nurse.\n\nWho is a nurse?"),))
    reader = ExtractiveReader()
    deltas = [event.delta.text for event in reader.stream(request) if event.type == "delta"]
    assert "".join(deltas) == reader.complete(request).text == "Ann is a nurse."


def test_deepcopy_shares_the_reader() -> None:
    reader = ExtractiveReader()
    assert copy.deepcopy(reader) is reader


def test_instruction_proposals_differ_and_keep_the_old_text(lm: dspy.LM) -> None:
    propose = dspy.Predict("basic_instruction, tip -> proposed_instruction, proposed_prefix_for_output_field")
    with dspy.context(lm=lm):
        found = {propose(basic_instruction="Answer it.", tip=str(n)).proposed_instruction for n in range(20)}
    assert len(found) > 1
    assert all(text.startswith("Answer it. ") for text in found)


def test_reflection_in_a_code_fence_is_answered_in_one() -> None:
    asked = "I gave this:\n```\nAnswer it.\n```\nIt failed.\n\nProvide the new instructions within ``` blocks."
    answer = answer_messages([("user", asked)])
    assert answer.startswith("```\nAnswer it. ")
    assert answer.endswith("\n```")


SYSTEM = dspy.ChatAdapter().format_system_message(dspy.Signature("context, question -> n: int, xs: list[str], answer"))
TEXTS = st.text(max_size=300) | st.sampled_from(
    [SYSTEM, "[[ ## question ## ]]\nWho, or what?", "[[ ## context ## ]]\n[1] «A | B.»\n[2] «»", "{", "[1] «", "\x00"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), TEXTS), max_size=6))
def test_never_raises_and_never_differs(messages: list[tuple[str, str]]) -> None:
    assert answer_messages(messages) == answer_messages(messages)


@pytest.mark.parametrize(
    "text", ["y", "Word ", "A. ", '"', "a or ", "B of ", "1,", "[1] «", "[[ ## question ## ]]\n", "\n", "Who A is "]
)
def test_time_grows_with_the_length_and_no_faster(text: str) -> None:
    def seconds(size: int) -> float:
        body = text * (size // len(text))
        messages = [("system", SYSTEM), ("user", f"[[ ## context ## ]]\n{body}\n[[ ## question ## ]]\n{body} or who?")]
        started = time.process_time()
        answer_messages(messages)
        answer_messages([("system", body), ("user", f"{body}\n\nWho is it?")])
        return time.process_time() - started

    def least(size: int) -> float:
        """Of several: a collection of garbage that others have left is not this one's time."""
        return min(seconds(size) for _ in range(4))

    assert least(40_000) < 40 * max(least(4_000), 0.002)
