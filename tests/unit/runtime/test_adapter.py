# SPDX-License-Identifier: Apache-2.0
"""The adapter writes DSPy's own prompts, repeats an unparseable call once, and publishes parsed answers only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slipway_server import cache
from slipway_server.config import load_settings
from slipway_server.runtime.adapter import SlipwayAdapter

GOOD = "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]"
BAD = "I think it is Paris."


class Scripted:
    """An engine pair that answers from a list, and remembers the requests."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.requests: list[dspy.lm15.Request] = []

    def complete(self, request: dspy.lm15.Request) -> dspy.lm15.Response:
        self.requests.append(request)
        return _response(self.texts[min(len(self.requests), len(self.texts)) - 1])

    def __deepcopy__(self, memo: object) -> Scripted:
        return self


class AsyncScripted:
    def __init__(self, engine: Scripted) -> None:
        self.engine = engine

    async def complete(self, request: dspy.lm15.Request) -> dspy.lm15.Response:
        return self.engine.complete(request)


def _response(text: str) -> dspy.lm15.Response:
    from dspy.lm15 import Message, Response, Usage

    return Response(
        id="scripted", model="scripted", message=Message.assistant(text), finish_reason="stop", usage=Usage()
    )


def lm_of(engine: Scripted) -> dspy.LM:
    return dspy.LM("scripted/model", engine=engine, async_engine=AsyncScripted(engine), num_retries=0, temperature=0.2)


@pytest.fixture(autouse=True)
def memory_cache() -> Iterator[None]:
    before = dspy.cache
    cache.install(cache.open_cache(load_settings({"cache": "memory"}, environ={})))
    yield
    dspy.cache = before


async def ask(engine: Scripted) -> Any:
    with dspy.context(lm=lm_of(engine), adapter=SlipwayAdapter(), disable_history=True):
        return (await dspy.Predict("question -> answer").acall(question="Capital of France?")).answer


async def test_an_unparseable_answer_is_asked_for_once_more() -> None:
    engine = Scripted(BAD, GOOD)
    assert await ask(engine) == "Paris"
    assert len(engine.requests) == 2
    assert engine.requests[0].config.temperature == 0.2
    assert engine.requests[1].config.temperature == 0.7


async def test_the_second_call_has_a_rollout_id_of_its_own() -> None:
    seen: list[int | None] = []

    class Watched(dspy.LM):
        async def acall(self, *arguments: Any, **keywords: Any) -> Any:
            seen.append(keywords.get("rollout_id"))
            return await super().acall(*arguments, **keywords)

    for _ in range(2):
        engine = Scripted(BAD, GOOD)
        lm = Watched("scripted/model", engine=engine, async_engine=AsyncScripted(engine), num_retries=0, cache=False)
        with dspy.context(lm=lm, adapter=SlipwayAdapter(), disable_history=True):
            await dspy.Predict("question -> answer").acall(question="Capital of France?")
    assert seen[0] is seen[2] is None
    assert None not in (seen[1], seen[3])
    assert seen[1] != seen[3]


async def test_two_unparseable_answers_are_an_error_and_no_third_call() -> None:
    engine = Scripted(BAD)
    with pytest.raises(AdapterParseError):
        await ask(engine)
    assert len(engine.requests) == 2


async def test_only_parsed_answers_reach_the_cache() -> None:
    with pytest.raises(AdapterParseError):
        await ask(Scripted(BAD))
    engine = Scripted(GOOD)
    assert await ask(engine) == "Paris"
    assert len(engine.requests) == 1, "the unparseable answer must not have come from the cache"
    assert await ask(Scripted(BAD)) == "Paris", "the parsed answer must come from the cache"


def test_the_same_for_synchronous_calls() -> None:
    engine = Scripted(BAD, GOOD)
    with dspy.context(lm=lm_of(engine), adapter=SlipwayAdapter(), disable_history=True):
        assert dspy.Predict("question -> answer")(question="Capital of France?").answer == "Paris"
    assert len(engine.requests) == 2


text = st.text(min_size=1, max_size=30)
demo = st.fixed_dictionaries({"question": text, "answer": text}, optional={"context": st.lists(text, max_size=2)})


@settings(max_examples=60, deadline=None)
@given(demos=st.lists(demo, max_size=3), question=text, instructions=text)
def test_prompts_are_those_of_dspys_chat_adapter(demos: list[dict[str, Any]], question: str, instructions: str) -> None:
    signature = dspy.Signature("context: list[str], question -> reasoning, answer: str").with_instructions(instructions)
    inputs = {"context": ["a passage"], "question": question}
    expected = dspy.ChatAdapter().format(signature, demos, inputs)
    adapter = SlipwayAdapter(memoise=True)
    assert adapter.format(signature, demos, inputs) == expected
    assert adapter.format(signature, demos, inputs) == expected, "and the same from memory"


values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text | st.lists(text | st.integers())


@settings(max_examples=80, deadline=None)
@given(values, st.sampled_from(["str", "list[str]", "int", "list", "dict", "str | None"]), text)
def test_values_are_formatted_as_dspy_formats_them(value: Any, annotation: str, question: str) -> None:
    numbers = isinstance(value, list) and not all(isinstance(item, str) for item in value)
    assume(annotation != "str" or not numbers)  # DSPy itself fails on these
    signature = dspy.Signature(f"field: {annotation}, question -> answer: list[int], sure: bool")
    for inputs in ({"field": value, "question": question}, {"field": value}, {}):
        expected = dspy.ChatAdapter().format(signature, [], inputs)
        assert SlipwayAdapter(memoise=True).format(signature, [], inputs) == expected


def test_other_demos_of_the_same_signature_are_formatted_anew() -> None:
    signature = dspy.Signature("question -> answer")
    adapter = SlipwayAdapter(memoise=True)
    for answer in ("one", "two"):
        messages = adapter.format(signature, [{"question": "q", "answer": answer}], {"question": "Q"})
        assert answer in str(messages)
