# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dspy
import programs
from artifact_drafts import compiled

from slipway_server.runtime.prompts import CHARACTERS_PER_TOKEN, fixed_tokens


def test_the_fixed_part_is_what_the_adapter_writes_before_the_question() -> None:
    program = compiled(programs.TutorialRAG())
    predictor = program.generate_answer.predict
    *fixed, _ = dspy.ChatAdapter().format(predictor.signature, predictor.demos, {"context": ["c"], "question": "q"})
    characters = sum(len(message["content"]) for message in fixed)
    assert fixed_tokens(program) == {"generate_answer.predict": round(characters / CHARACTERS_PER_TOKEN)}


def test_every_demo_makes_it_longer() -> None:
    program = programs.TwoHop()
    before = fixed_tokens(program)
    program.generate_query.predict.demos = [dspy.Example(context=["c"], question="q", reasoning="r", query="x" * 400)]
    after = fixed_tokens(program)
    assert after["generate_query.predict"] > before["generate_query.predict"] + 100
    assert after["generate_answer.predict"] == before["generate_answer.predict"]
