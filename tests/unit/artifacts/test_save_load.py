# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
import orjson
import programs
import pytest
from artifact_drafts import compiled, draft

from slipway_server.artifacts import load, manifest_path, save
from slipway_server.artifacts.files import MAX_CONTENT_BYTES
from slipway_server.errors import ArtifactInvalid


def messages(program: Any) -> Any:
    """The prompt that a program's answering predictor makes."""
    predictor = dict(program.named_predictors())["generate_answer.predict"]
    inputs = {"context": ["p1", "p2"], "question": "why?"}
    return dspy.ChatAdapter().format(predictor.signature, predictor.demos, inputs)


def test_a_loaded_program_makes_the_same_prompts(artifact: Path) -> None:
    loaded = load(artifact, programs.TutorialRAG)
    assert messages(loaded.program) == messages(compiled(programs.TutorialRAG()))
    assert loaded.program.generate_answer.predict.lm is None
    assert loaded.program.retrieve.k == 3
    assert loaded.name == "tutorialrag-20260304T0506Z-g0123456-exact-match_0.667-" + loaded.digest[:8]
    assert loaded.manifest.compiled is not None
    assert loaded.manifest.compiled.score == 2 / 3


@pytest.mark.parametrize("program", [programs.TwoHop, programs.Agent, programs.AsyncOnly, programs.ForwardOnly])
def test_any_program_survives_the_round_trip(program: type[Any], tmp_path: Path) -> None:
    made = program()
    for _, predictor in made.named_predictors():
        predictor.signature = predictor.signature.with_instructions(f"Compiled {len(predictor.signature.fields)}.")
    path = save(made, draft(f"programs:{program.__name__}"), tmp_path)
    again = save(load(path, program).program, draft(f"programs:{program.__name__}"), tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()
    assert again.name == path.name


def test_a_bare_predictor_is_a_program_too(tmp_path: Path) -> None:
    program = dspy.Predict("question -> answer")
    program.demos = [dspy.Example(question="q", answer="a")]
    path = save(program, draft("dspy:Predict"), tmp_path)
    loaded = load(path, lambda: dspy.Predict("question -> answer"))
    assert loaded.program.demos == [{"question": "q", "answer": "a"}]
    dspy.Predict("question -> answer").load(path)


def test_settings_of_decisions_are_kept(tmp_path: Path) -> None:
    program = dspy.Predict("question -> urgent: bool")
    program.fields = {"urgent": {"threshold": 0.3}}
    path = save(program, draft("dspy:Predict"), tmp_path)
    assert load(path, lambda: dspy.Predict("question -> urgent: bool")).program.fields == program.fields


def test_dspy_itself_loads_the_file(artifact: Path) -> None:
    program = programs.TutorialRAG()
    program.load(artifact)
    assert messages(program) == messages(compiled(programs.TutorialRAG()))


def test_the_file_is_what_dspy_saves(tmp_path: Path) -> None:
    program = programs.Plain()
    program.generate.predict.demos = [dspy.Example(question="q", reasoning="r", answer="a")]
    program.save(tmp_path / "theirs.json")
    assert save(program, draft("programs:Plain"), tmp_path).read_bytes() == (tmp_path / "theirs.json").read_bytes()


def test_the_lm_stays_out_of_the_file_and_on_the_program(tmp_path: Path) -> None:
    program = compiled(programs.TutorialRAG())
    lm = dspy.LM("openai/gpt-4o-mini", api_key="sk-secret", extra_headers={"Authorization": "Bearer secret"})
    program.set_lm(lm)
    path = save(program, draft(), tmp_path)
    assert b"secret" not in path.read_bytes()
    assert orjson.loads(path.read_bytes())["generate_answer.predict"]["lm"] is None
    assert program.generate_answer.predict.lm is lm


def test_demos_are_cut_to_their_signature(tmp_path: Path) -> None:
    program = programs.TwoHop()
    labelled = dspy.Example(answer="a", question="q", gold_titles=["t"])
    for predictor in program.predictors():
        predictor.demos = [labelled]
    state = orjson.loads(save(program, draft("programs:TwoHop"), tmp_path).read_bytes())
    assert state["generate_query.predict"]["demos"] == []
    assert list(state["generate_answer.predict"]["demos"][0].items()) == [("question", "q"), ("answer", "a")]


def test_the_same_content_has_the_same_bytes_and_digest(tmp_path: Path) -> None:
    first = save(compiled(programs.TutorialRAG()), draft(), tmp_path / "a")
    second = save(compiled(programs.TutorialRAG()), draft(), tmp_path / "b")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert manifest_path(first).read_bytes() == manifest_path(second).read_bytes()


def test_a_wrapped_compiled_program_is_refused(tmp_path: Path) -> None:
    class Wrapper(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = programs.Plain()
            self.inner._compiled = True

    with pytest.raises(ArtifactInvalid, match="no predictor that DSPy can see"):
        save(Wrapper(), draft(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_loaded_is_not_written(tmp_path: Path) -> None:
    program = programs.Plain()
    program.generate.predict.demos = [dspy.Example(question="q" * MAX_CONTENT_BYTES, answer="a")]
    with pytest.raises(ArtifactInvalid, match="holds more than"):
        save(program, draft("programs:Plain"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_three_hundred_loads_do_not_slow_down(artifact: Path) -> None:
    """DSPy's own load into one instance ends with a RecursionError at the 139th."""
    for _ in range(300):
        loaded = load(artifact, programs.TutorialRAG)
    assert messages(loaded.program) == messages(compiled(programs.TutorialRAG()))
