# SPDX-License-Identifier: Apache-2.0
"""Two artifacts side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import programs
import pytest
from artifact_drafts import compiled, draft
from hypothesis import given
from hypothesis import strategies as st

from slipway_server.artifacts import manifest_path, save
from slipway_server.artifacts.diff import Change, Diff, diff, read_side, word_changes
from slipway_server.artifacts.fingerprint import inputs_of
from slipway_server.artifacts.manifest import digest_of
from slipway_server.errors import ArtifactInvalid

ANSWER = "generate_answer.predict"
DEMOS = [{"context": f"c{n}", "question": f"q{n}", "reasoning": "r", "answer": f"a{n}"} for n in range(4)]


@pytest.fixture
def side(tmp_path: Path) -> Callable[..., Any]:
    """`side(edit)`: an artifact of TutorialRAG whose program was edited, read."""

    def make(edit: Callable[[Any], None] = lambda predictor: None, **changes: Any) -> Any:
        program = compiled(programs.TutorialRAG())
        predictor = program.generate_answer.predict
        predictor.demos = [dict(demo) for demo in DEMOS[:3]]
        edit(predictor)
        return read_side(save(program, draft(**changes), tmp_path / str(len(list(tmp_path.iterdir())))))

    return make


def only(found: Diff) -> Any:
    [predictor] = found.predictors
    return predictor


def set_demos(demos: list[Any]) -> Callable[[Any], None]:
    return lambda predictor: setattr(predictor, "demos", demos)


def test_the_same_artifact_differs_in_nothing(side: Callable[..., Any]) -> None:
    found = diff(side(), side())
    assert [(fact.label, fact.before == fact.after) for fact in found.facts] == [("score", True)]
    assert only(found).same
    assert only(found).kept == 3


def test_instructions_differ_by_words(side: Callable[..., Any]) -> None:
    def edit(predictor: Any) -> None:
        predictor.signature = predictor.signature.with_instructions("Answer briefly, from the context.")

    assert only(diff(side(), side(edit))).instructions == (
        Change("=", "Answer"),
        Change("+", " briefly,"),
        Change("=", " from the context."),
    )


def test_demos_are_kept_added_removed_and_changed(side: Callable[..., Any]) -> None:
    changed = {**DEMOS[1], "answer": "other"}
    found = only(diff(side(), side(set_demos([DEMOS[0], changed, DEMOS[3]]))))
    assert found.kept == 1
    assert [(demo.before, demo.after, demo.fields) for demo in found.demos] == [
        (DEMOS[1], changed, ("answer",)),
        (None, DEMOS[3], ()),
        (DEMOS[2], None, ()),
    ]


def test_another_order_and_a_demo_that_is_there_twice(side: Callable[..., Any]) -> None:
    found = only(diff(side(), side(set_demos([DEMOS[2], DEMOS[1], DEMOS[0]]))))
    assert (found.demos, found.kept, found.reordered, found.same) == ((), 3, True, False)
    found = only(diff(side(), side(set_demos([*DEMOS[:3], DEMOS[0]]))))
    assert (found.kept, found.reordered) == (3, False)
    assert [demo.after for demo in found.demos] == [DEMOS[0]]


def test_field_texts_scores_and_settings(side: Callable[..., Any]) -> None:
    def edit(predictor: Any) -> None:
        predictor.signature = predictor.signature.with_updated_fields("answer", desc="a date")

    found = diff(side(), side(edit, compiled=None, metric="token-f1"))
    [fact] = only(found).fields
    assert (fact.label, fact.before, fact.after) == ("answer description", "${answer}", "a date")
    [score] = found.facts
    assert (score.before, score.after) == ("exact-match 0.667 (0.400 to 0.800), n = 30", "not measured")


def test_other_predictors_and_fields(side: Callable[..., Any], tmp_path: Path) -> None:
    other = read_side(save(programs.Renamed(), draft("programs:Renamed"), tmp_path / "other"))
    found = diff(side(), other)
    assert [(one.name, [fact.label for fact in one.fields]) for one in found.predictors] == [
        ("reply.predict", ["fields"]),
        (ANSWER, ["fields"]),
    ]
    assert len(found.predictors[1].demos) == 3


def test_inputs_of_a_stated_shape() -> None:
    assert inputs_of("a: Literal['x -> y', 'z, '], b: dict[str, int] -> c: str, d: str") == ["a", "b"]
    assert inputs_of("") == []


def test_a_changed_file_is_not_compared(side: Callable[..., Any]) -> None:
    good = side()
    state = orjson.loads(good.path.read_bytes())
    state[ANSWER]["signature"] = None
    good.path.write_bytes(orjson.dumps(state))
    with pytest.raises(ArtifactInvalid, match="differs from its digest"):
        read_side(good.path)
    manifest = orjson.loads(manifest_path(good.path).read_bytes())
    manifest_path(good.path).write_bytes(orjson.dumps({**manifest, "digest": digest_of(state, manifest)}))
    with pytest.raises(ArtifactInvalid, match="not what DSPy's `save` writes"):
        read_side(good.path)


@given(before=st.text(alphabet="ab ,\n", max_size=30), after=st.text(alphabet="ab ,\n", max_size=30))
def test_a_word_diff_gives_both_texts_again(before: str, after: str) -> None:
    changes = word_changes(before, after)
    assert "".join(part.text for part in changes if part.operation in "=-") == before
    assert "".join(part.text for part in changes if part.operation in "=+") == after
