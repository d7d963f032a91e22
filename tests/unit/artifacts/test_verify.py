# SPDX-License-Identifier: Apache-2.0
"""Every way in which DSPy's own `load` goes wrong, refused; with the manifest left alone and with it rewritten."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import dspy
import orjson
import programs
import pytest
from artifact_drafts import compiled, draft
from bad_artifacts import ANSWER, BAD, ONLY_THE_DIGEST_SHOWS, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway_server.artifacts import Served, Severity, Store, load, manifest_path, save, verify
from slipway_server.artifacts.manifest import digest_of
from slipway_server.errors import ArtifactForeign, ArtifactInvalid, ArtifactMissing, OperatorError

Rewrite = Callable[..., Path]


@pytest.mark.parametrize("name", BAD)
def test_a_changed_file_differs_from_its_digest(name: str, artifact: Path, rewritten: Rewrite) -> None:
    rewritten(artifact, BAD[name][0], seal=False)
    with pytest.raises(ArtifactInvalid, match="differs from its digest"):
        load(artifact, programs.TutorialRAG)


@pytest.mark.parametrize("name", [name for name in BAD if name not in ONLY_THE_DIGEST_SHOWS])
def test_a_rewritten_manifest_does_not_help(name: str, artifact: Path, rewritten: Rewrite) -> None:
    edit, error, hint = BAD[name]
    rewritten(artifact, edit, seal=True)
    with pytest.raises(error) as caught:
        load(artifact, programs.TutorialRAG)
    assert hint in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", BAD)
def test_the_configured_digest_refuses_any_rewrite(name: str, artifact: Path, rewritten: Rewrite) -> None:
    digest = load(artifact, programs.TutorialRAG).digest
    rewritten(artifact, BAD[name][0], seal=True)
    with pytest.raises(OperatorError):
        load(artifact, programs.TutorialRAG, digest=digest)


def test_the_configured_digest_refuses_another_valid_artifact(artifact: Path) -> None:
    with pytest.raises(ArtifactInvalid, match="the configuration asks for 00000000…"):
        load(artifact, programs.TutorialRAG, digest="0" * 64)


def test_a_rewritten_manifest_differs_from_its_digest(artifact: Path) -> None:
    manifest = orjson.loads(manifest_path(artifact).read_bytes())
    manifest["compiled"]["score"] = 0.99
    manifest_path(artifact).write_bytes(orjson.dumps(manifest))
    with pytest.raises(ArtifactInvalid, match="differs from its digest"):
        load(artifact, programs.TutorialRAG)


def test_indentation_and_order_of_keys_do_not_count(artifact: Path) -> None:
    state = orjson.loads(artifact.read_bytes())
    artifact.write_bytes(orjson.dumps(dict(reversed(state.items()))))
    load(artifact, programs.TutorialRAG)


def test_missing_files(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="no such file"):
        load(tmp_path / "other.json", programs.TutorialRAG)
    manifest_path(artifact).unlink()
    with pytest.raises(ArtifactMissing, match="slipway artifact adopt"):
        load(artifact, programs.TutorialRAG)


DEEP = b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"
"""Can be read, but not be written again."""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a": NaN}', DEEP])
def test_what_is_no_json_object(content: bytes, artifact: Path) -> None:
    for path in (artifact, manifest_path(artifact)):
        kept = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ArtifactInvalid, match="not a JSON object, or is truncated"):
            load(artifact, programs.TutorialRAG)
        path.write_bytes(kept)


def test_truncated_anywhere(artifact: Path) -> None:
    whole = artifact.read_bytes().rstrip()
    for length in range(0, len(whole), 97):
        artifact.write_bytes(whole[:length])
        with pytest.raises(ArtifactInvalid):
            load(artifact, programs.TutorialRAG)


def test_a_manifest_of_a_later_schema(artifact: Path) -> None:
    manifest = orjson.loads(manifest_path(artifact).read_bytes())
    manifest_path(artifact).write_bytes(orjson.dumps({**manifest, "schema_version": 2}))
    with pytest.raises(ArtifactInvalid, match="schema_version"):
        load(artifact, programs.TutorialRAG)


class Reordered(programs.TutorialRAG):
    def __init__(self) -> None:
        super().__init__()
        self.generate_answer = dspy.ChainOfThought("question, context -> answer")


class Retyped(programs.TutorialRAG):
    def __init__(self) -> None:
        super().__init__()
        self.generate_answer = dspy.ChainOfThought("context: list[str], question -> answer")


class FieldRenamed(programs.TutorialRAG):
    def __init__(self) -> None:
        super().__init__()
        self.generate_answer = dspy.ChainOfThought("context, question -> reply")


@pytest.mark.parametrize("program", [Reordered, Retyped, FieldRenamed, programs.TwoHop, programs.Plain])
def test_other_code_is_refused(program: type[Any], artifact: Path) -> None:
    with pytest.raises(ArtifactForeign, match="compile again with this code"):
        load(artifact, program)


def test_a_refused_artifact_leaves_the_program_untouched(artifact: Path) -> None:
    program = Reordered()
    with pytest.raises(ArtifactForeign):
        load(artifact, lambda: program)
    assert program.generate_answer.predict.demos == []


def test_labelled_demos_are_a_warning_and_so_are_unused_keys(artifact: Path, rewritten: Rewrite) -> None:
    rewritten(artifact, lambda s: s[ANSWER]["demos"][0].update(note="x"), seal=True)
    report = verify(artifact, programs.TutorialRAG)
    assert not report.refused
    warnings = {finding.code: finding.message for finding in report.findings if finding.severity is Severity.WARNING}
    assert "1 of 2 demos lack context, reasoning" in warnings["demos-incomplete"]
    assert "unused keys note" in warnings["demos-extra"]


def test_settings_that_differ_from_the_compiled_ones_are_warnings(artifact: Path) -> None:
    same = Served(3, "docs-1a2b3c4d", "offline/bm25", "openai/gpt-4o-mini", 0.1)
    other = Served(5, "docs-99999999", "offline/hash", "openai/gpt-4o", 0.7)

    def codes(served: Served) -> set[str]:
        return {f.code for f in load(artifact, programs.TutorialRAG, served=served).findings if "setting" in f.code}

    assert codes(same) == codes(Served()) == set()
    assert codes(other) == {f"setting-{w}" for w in ("collection-version", "embedder", "model", "temperature")}


def test_the_served_k_counts_where_the_program_has_none_of_its_own(tmp_path: Path) -> None:
    path = save(programs.AsyncOnly(), draft("programs:AsyncOnly"), tmp_path)
    assert "setting-k" in {finding.code for finding in load(path, programs.AsyncOnly, served=Served(k=5)).findings}
    assert "setting-k" not in {finding.code for finding in load(path, programs.AsyncOnly, served=Served(k=3)).findings}


def test_versions_that_differ_are_warnings(tmp_path: Path) -> None:
    manifest = draft()
    old = manifest.versions.model_copy(update={"dspy": "2.6.0", "python": "3.9"})
    path = save(compiled(programs.TutorialRAG()), manifest.model_copy(update={"versions": old}), tmp_path)
    found = {f.code: f.message for f in load(path, programs.TutorialRAG).findings}
    assert "2.6.0" in found["version-dspy"]
    assert "3.9" in found["version-python"]
    assert "version-cloudpickle" not in found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    [
        ANSWER,
        "retrieve",
        "metadata",
        "lm",
        "demos",
        "signature",
        "fields",
        "instructions",
        "traces",
        "train",
        "k",
        "question",
    ]
)
places = st.lists(keys | st.integers(0, 3), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=places, value=json_values)
def test_no_json_makes_it_crash(place: list[str | int], value: Any, artifact: Path, rewritten: Rewrite) -> None:
    whole, manifest = artifact.read_bytes(), manifest_path(artifact).read_bytes()

    def edit(state: Any) -> None:
        for key in place[:-1]:
            state = state[key]
        state[place[-1]] = value

    with suppress(LookupError, TypeError):
        rewritten(artifact, edit, seal=True)
    with suppress(OperatorError):
        load(artifact, programs.TutorialRAG)
    artifact.write_bytes(whole)
    manifest_path(artifact).write_bytes(manifest)


manifest_keys = st.sampled_from(
    [
        "program",
        "fingerprint",
        "predictors",
        "created",
        "code",
        "sha",
        "retrieval",
        "k",
        "compiled",
        "score",
        "interval",
    ]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.lists(manifest_keys, min_size=1, max_size=2), value=json_values)
def test_no_manifest_makes_it_crash(place: list[str], value: Any, artifact: Path) -> None:
    whole = manifest_path(artifact).read_bytes()
    manifest = orjson.loads(whole)
    with suppress(LookupError, TypeError):
        put(*place, to=value)(manifest)
    manifest["digest"] = digest_of(orjson.loads(artifact.read_bytes()), manifest)
    manifest_path(artifact).write_bytes(orjson.dumps(manifest))
    with suppress(OperatorError):
        load(artifact, programs.TutorialRAG)
    Store(artifact.parent).list()
    manifest_path(artifact).write_bytes(whole)


@pytest.mark.parametrize("created", ["2026-03-04T05:06:07", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_odd_times_do_not_break_a_listing(created: str, artifact: Path) -> None:
    save(compiled(programs.TutorialRAG()), draft(metric="other"), artifact.parent)
    manifest = orjson.loads(manifest_path(artifact).read_bytes())
    manifest_path(artifact).write_bytes(orjson.dumps({**manifest, "created": created}))
    assert len(Store(artifact.parent).list()) >= 1
