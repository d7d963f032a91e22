# SPDX-License-Identifier: Apache-2.0
"""An artifact follows renamed predictors and fields, and nothing that a rename cannot mend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import dspy
import orjson
import programs
import pytest
from artifact_drafts import compiled, draft
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway_server.artifacts import load, manifest_path, save
from slipway_server.artifacts.fingerprint import fields_of, fields_text, type_name
from slipway_server.artifacts.manifest import digest_of
from slipway_server.artifacts.migrate import migrate
from slipway_server.errors import ArtifactForeign, ArtifactInvalid, ConfigInvalid, OperatorError

ANSWER = "generate_answer.predict"
Rewrite = Callable[..., Path]


class Renamed(dspy.Module):
    """TutorialRAG after a refactoring: other names, another order of inputs, no dspy.Retrieve."""

    def __init__(self, signature: str = "question, passages -> answer") -> None:
        super().__init__()
        self.reply = dspy.ChainOfThought(signature)


class OnlyThePredictor(programs.TutorialRAG):
    def __init__(self) -> None:
        super().__init__()
        self.reply, self.generate_answer = self.generate_answer, None


PREDICTOR, FIELD = {"generate_answer": "reply"}, {"context": "passages"}


def moved(artifact: Path, program: Any = Renamed, predictors: Any = PREDICTOR, fields: Any = FIELD) -> tuple[Any, Any]:
    before = artifact.read_bytes(), manifest_path(artifact).read_bytes()
    path, findings = migrate(
        artifact, program, program="new:Program", predictors=predictors, fields=fields, folder=artifact.parent / "new"
    )
    assert before == (artifact.read_bytes(), manifest_path(artifact).read_bytes())
    return load(path, program), {finding.code: finding.message for finding in findings}


def test_predictors_fields_and_their_order_follow_the_code(artifact: Path) -> None:
    loaded, findings = moved(artifact)
    predictor = loaded.program.reply.predict
    assert list(predictor.demos[0]) == ["augmented", "question", "passages", "reasoning", "answer"]
    assert predictor.demos[0]["passages"] == ["a"]
    assert predictor.demos[1] == {"question": "q2", "answer": "a2"}
    assert predictor.signature.instructions == "Answer from the context."
    texts = {name: info.json_schema_extra["desc"] for name, info in predictor.signature.fields.items()}
    assert texts == {name: f"${{{name}}}" for name in ("question", "passages", "reasoning", "answer")}
    assert "k 3 is SLIPWAY_RETRIEVAL_K" in findings["retrieve"]
    assert "speak of context" in findings["instructions"]


def test_provenance_is_kept_and_a_score_that_no_longer_holds_is_not(artifact: Path) -> None:
    old = load(artifact, programs.TutorialRAG).manifest
    loaded, findings = moved(artifact)
    assert loaded.manifest.parent == old.digest
    assert loaded.manifest.program == "new:Program"
    assert (loaded.manifest.optimizer, loaded.manifest.lm) == (old.optimizer, old.lm)
    assert loaded.manifest.compiled is None
    assert "unscored" in loaded.name
    assert "score" in findings


def test_a_predictors_name_is_in_no_prompt_so_the_score_holds(artifact: Path) -> None:
    loaded, findings = moved(artifact, OnlyThePredictor, PREDICTOR, {})
    assert loaded.manifest.compiled == load(artifact, programs.TutorialRAG).manifest.compiled
    assert findings == {}
    prompts = [
        dspy.ChatAdapter().format(program.signature, program.demos, {"context": "c", "question": "q"})
        for program in (
            loaded.program.reply.predict,
            load(artifact, programs.TutorialRAG).program.generate_answer.predict,
        )
    ]
    assert prompts[0] == prompts[1]


def test_names_in_backquotes_follow_and_own_texts_stay(tmp_path: Path) -> None:
    program = compiled(programs.TutorialRAG())
    predictor = program.generate_answer.predict
    signature = predictor.signature.with_instructions("Read `context`, answer `question`.")
    predictor.signature = signature.with_updated_fields("context", desc="may contain facts", prefix="Facts:")
    loaded, findings = moved(save(program, draft(), tmp_path))
    signature = loaded.program.reply.predict.signature
    assert signature.instructions == "Read `passages`, answer `question`."
    assert signature.fields["passages"].json_schema_extra["desc"] == "may contain facts"
    assert signature.fields["passages"].json_schema_extra["prefix"] == "Facts:"
    assert "name the new fields" in findings["instructions"]


def test_names_may_change_places(artifact: Path) -> None:
    swapped = {"context": "question", "question": "context"}
    loaded, _ = moved(artifact, lambda: Renamed("question, context -> answer"), fields=swapped)
    assert loaded.program.reply.predict.demos[0]["question"] == ["a"]
    assert loaded.program.reply.predict.demos[0]["context"] == "q1"


def test_a_migrated_artifact_migrates_back(artifact: Path) -> None:
    there, _ = moved(artifact)
    path, _ = migrate(
        there.path,
        programs.TutorialRAG,
        program="programs:TutorialRAG",
        predictors={"reply": "generate_answer"},
        fields={"passages": "context"},
        folder=artifact.parent / "back",
    )
    back = orjson.loads(path.read_bytes())
    first = orjson.loads(artifact.read_bytes())
    assert back == first


@pytest.mark.parametrize(
    ("program", "predictors", "fields", "error", "hint"),
    [
        (Renamed, {}, FIELD, ArtifactForeign, "--rename OLD=reply.predict"),
        (Renamed, PREDICTOR, {}, ArtifactForeign, "--field context=passages"),
        (Renamed, {**PREDICTOR, "nosuch": "x"}, FIELD, ConfigInvalid, "no predictor 'nosuch'; it has retrieve"),
        (Renamed, PREDICTOR, {**FIELD, "nosuch": "x"}, ConfigInvalid, "no field 'nosuch'"),
        (Renamed, {**PREDICTOR, "retrieve": "reply.predict"}, FIELD, ConfigInvalid, "cannot both become"),
        (Renamed, PREDICTOR, {**FIELD, "question": "passages"}, ConfigInvalid, "the same name"),
        (
            lambda: Renamed("question, passages: list[str] -> answer"),
            PREDICTOR,
            FIELD,
            ArtifactForeign,
            "list[str] now",
        ),
        (lambda: Renamed("question, passages, tenant -> answer"), PREDICTOR, FIELD, ArtifactForeign, "tenant"),
        (lambda: Renamed("question -> answer"), PREDICTOR, FIELD, ArtifactForeign, "passages"),
        (programs.TwoHop, {}, {}, ArtifactForeign, "generate_query.predict"),
    ],
)
def test_what_a_rename_cannot_mend(
    program: Any, predictors: Any, fields: Any, error: type[OperatorError], hint: str, artifact: Path
) -> None:
    with pytest.raises(error) as caught:
        moved(artifact, program, predictors, fields)
    assert hint in caught.value.message
    assert "\n" not in caught.value.message
    assert not (artifact.parent / "new").exists()


def test_what_was_changed_is_not_migrated(artifact: Path, rewritten: Rewrite) -> None:
    rewritten(artifact, lambda s: s["retrieve"].update(k=9), seal=False)
    with pytest.raises(ArtifactInvalid, match="differs from its digest"):
        moved(artifact)


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s[ANSWER].update(config={"api_base": "http://elsewhere"}),
        lambda s: s[ANSWER].update(lm={"model": "x"}),
        lambda s: s.pop("metadata"),
        lambda s: s[ANSWER]["signature"].pop("fields"),
        lambda s: s.update({ANSWER: None}),
    ],
)
def test_what_must_not_be_served_is_not_migrated(edit: Any, artifact: Path, rewritten: Rewrite) -> None:
    rewritten(artifact, edit, seal=True)
    with pytest.raises(ArtifactInvalid):
        moved(artifact)
    assert not (artifact.parent / "new").exists()


def test_a_stated_shape_is_read_back() -> None:
    inputs = {
        "a": dict[str, list[int]],
        "b": Literal["x, y", "z] -> (", "it's", "both ' and \""],
        "c": Callable[[int, str], str],
        "d": int | None,
    }
    fields = {name: (kind, dspy.InputField()) for name, kind in inputs.items()}
    made = dspy.Signature({**fields, "e": (tuple[int, ...], dspy.OutputField())})
    assert fields_of(fields_text(made)) == [(name, type_name(info.annotation)) for name, info in made.fields.items()]
    assert fields_of("") == []


json_values = st.recursive(
    st.none() | st.integers(0, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
places = st.sampled_from([(ANSWER,), (ANSWER, "demos"), (ANSWER, "signature"), ("retrieve",), ("metadata",)])
stated_shapes = st.text(alphabet="ab:,->[]'\" |", max_size=30)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=places, value=json_values, shape=st.none() | stated_shapes)
def test_no_json_makes_it_crash(place: Any, value: Any, shape: str | None, artifact: Path, rewritten: Rewrite) -> None:
    whole, manifest = artifact.read_bytes(), manifest_path(artifact).read_bytes()
    state, stated = orjson.loads(whole), orjson.loads(manifest)
    inner = state
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    if shape is not None:
        stated["predictors"][ANSWER] = shape
    artifact.write_bytes(orjson.dumps(state))
    manifest_path(artifact).write_bytes(orjson.dumps({**stated, "digest": digest_of(state, stated)}))
    with suppress(OperatorError):
        moved(artifact)
    artifact.write_bytes(whole)
    manifest_path(artifact).write_bytes(manifest)
