# SPDX-License-Identifier: Apache-2.0
"""Files that DSPy wrote, of several versions, become artifacts."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import programs
import pytest
from artifact_drafts import compiled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway_server.artifacts import load
from slipway_server.artifacts.adopt import adopt
from slipway_server.artifacts.state import dump
from slipway_server.errors import ArtifactForeign, ArtifactInvalid, ArtifactMissing, OperatorError

ANSWER = "generate_answer.predict"
TEXTS = {
    "instructions": "Answer briefly.",
    "fields": [
        {"prefix": "Context:", "description": "may contain facts"},
        {"prefix": "Question:", "description": "${question}"},
        {"prefix": "Reasoning:", "description": "${reasoning}"},
        {"prefix": "Answer:", "description": "often between 1 and 5 words"},
    ],
}
LABELLED = {"question": "q2", "answer": "a2", "gold_titles": ["t"], "dspy_uuid": "x"}


def adopted(stored: Any, folder: Path, program: Any = programs.TutorialRAG) -> tuple[Any, Any, dict[str, str]]:
    file = folder / "rag.json"
    content = orjson.dumps(stored)
    file.write_bytes(content)
    path, findings = adopt(file, program, program="programs:TutorialRAG", folder=folder / "store")
    assert file.read_bytes() == content
    loaded = load(path, program)
    return loaded, dict(loaded.program.named_predictors()), {finding.code: finding.message for finding in findings}


def test_a_file_of_this_dspy(tmp_path: Path) -> None:
    stored = dump(compiled(programs.TutorialRAG()))
    stored["retrieve"]["k"] = 5
    loaded, predictors, findings = adopted(stored, tmp_path)
    assert findings == {}
    assert loaded.manifest.retrieval.k == 5
    assert loaded.program.retrieve.k == 5
    assert len(loaded.manifest.parent) == 64
    assert loaded.manifest.optimizer.name == "adopted"
    assert loaded.manifest.versions.dspy == stored["metadata"]["dependency_versions"]["dspy"]
    assert predictors[ANSWER].signature.instructions == "Answer from the context."


def test_a_file_as_older_tutorials_show_it(tmp_path: Path) -> None:
    demos = [{"augmented": True, "context": ["c"], "question": "q", "rationale": "because", "answer": "a"}, LABELLED]
    state = {"traces": [], "train": [], "demos": demos, "signature": TEXTS, "lm": None}
    loaded, predictors, findings = adopted({"retrieve": {"k": 3}, "generate_answer": state}, tmp_path)
    assert findings.keys() == {"renamed", "metadata"}
    predictor = predictors[ANSWER]
    assert predictor.signature.instructions == "Answer briefly."
    assert predictor.signature.fields["answer"].json_schema_extra["desc"] == "often between 1 and 5 words"
    assert predictor.demos[0]["reasoning"] == "because"
    assert predictor.demos[1] == {"question": "q2", "answer": "a2"}
    assert "1 of 2 demos lack context, reasoning" in next(
        f.message for f in loaded.findings if f.code == "demos-incomplete"
    )


def test_a_file_of_dspy_2_4(tmp_path: Path) -> None:
    state = {
        "lm": None,
        "traces": [],
        "train": [],
        "demos": [LABELLED],
        "signature_instructions": "Plain.",
        "signature_prefix": "Answer:",
        "extended_signature_instructions": "With thought.",
        "extended_signature_prefix": "The answer:",
    }
    _, predictors, _ = adopted({"retrieve": {"k": 3}, "generate_answer": state}, tmp_path)
    signature = predictors[ANSWER].signature
    assert signature.instructions == "With thought."
    assert signature.fields["answer"].json_schema_extra["prefix"] == "The answer:"
    assert signature.fields["context"].json_schema_extra["prefix"] == "Context:"


def test_a_file_of_dspy_2_5(tmp_path: Path) -> None:
    plain = {"instructions": "Plain.", "fields": [TEXTS["fields"][i] for i in (0, 1, 3)]}
    state = {"traces": [], "train": [], "demos": [], "signature": plain, "extended_signature": TEXTS, "lm": None}
    _, predictors, _ = adopted({"retrieve": {"k": 3}, "generate_answer._predict": state}, tmp_path)
    assert predictors[ANSWER].signature.instructions == "Answer briefly."


def test_an_lm_in_the_file_is_dropped(tmp_path: Path) -> None:
    stored = dump(compiled(programs.TutorialRAG()))
    stored[ANSWER]["lm"] = {"model": "openai/gpt-4o", "api_base": "http://elsewhere/v1"}
    loaded, predictors, findings = adopted(stored, tmp_path)
    assert "lm" in findings
    assert predictors[ANSWER].lm is None
    assert b"elsewhere" not in loaded.path.read_bytes()


def test_labelled_demos_that_a_predictor_cannot_show_are_dropped(tmp_path: Path) -> None:
    stored = dump(programs.TwoHop())
    stored["generate_query.predict"]["demos"] = [LABELLED]
    _, predictors, findings = adopted(stored, tmp_path, programs.TwoHop)
    assert predictors["generate_query.predict"].demos == []
    assert "demos-unusable" in findings


@pytest.mark.parametrize(
    ("edit", "error", "hint"),
    [
        (lambda s: s[ANSWER].update(config={"api_base": "http://elsewhere"}), ArtifactInvalid, "config"),
        (lambda s: s.update(other=s.pop(ANSWER)), ArtifactForeign, "it has other, it lacks " + ANSWER),
        (lambda s: s[ANSWER].pop("signature"), ArtifactInvalid, "no signature"),
        (lambda s: s[ANSWER]["signature"]["fields"].reverse(), ArtifactForeign, "in another order"),
        (lambda s: s[ANSWER]["signature"]["fields"].pop(), ArtifactForeign, "3 fields"),
        (lambda s: s[ANSWER].update(demos=[{"augmented": True, "reply": "r"}]), ArtifactForeign, "none of the outputs"),
    ],
)
def test_what_cannot_be_adopted(edit: Any, error: type[OperatorError], hint: str, tmp_path: Path) -> None:
    stored = dump(compiled(programs.TutorialRAG()))
    edit(stored)
    with pytest.raises(error) as caught:
        adopted(stored, tmp_path)
    assert hint in caught.value.message
    assert not (tmp_path / "store").exists()


def test_what_is_no_file_of_dspy(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    with pytest.raises(ArtifactMissing):
        adopt(file, programs.TutorialRAG, program="p:P", folder=tmp_path)
    for content in (b"", b"{", b"[]"):
        file.write_bytes(content)
        with pytest.raises(ArtifactInvalid):
            adopt(file, programs.TutorialRAG, program="p:P", folder=tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "demos",
                    "signature",
                    "extended_signature",
                    "signature_instructions",
                    "fields",
                    "prefix",
                    "lm",
                    "rationale",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=st.dictionaries(st.sampled_from(["retrieve", "generate_answer", ANSWER, "metadata"]), json_values))
def test_no_json_makes_it_crash(stored: dict[str, Any], tmp_path: Path) -> None:
    with suppress(OperatorError):
        adopted(stored, tmp_path)
