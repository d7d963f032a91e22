# SPDX-License-Identifier: Apache-2.0
"""`slipway artifact …` as a shipper types it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dspy
import orjson
import programs
import pytest
from artifact_drafts import CREATED, compiled, draft
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from slipway_server.artifacts import Store, manifest_path, save
from slipway_server.artifacts.manifest import Measured
from slipway_server.artifacts.state import dump

TUTORIAL = "programs:TutorialRAG"
Slipway = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for minute in range(2):
        manifest = draft().model_copy(update={"created": CREATED + timedelta(minutes=minute)})
        save(compiled(programs.TutorialRAG()), manifest, tmp_path / "artifacts")
    return Store(tmp_path / "artifacts")


def test_list_promote_and_roll_back(slipway: Slipway, store: Store) -> None:
    newer, older = store.list()
    code, out, _ = slipway("artifact", "list")
    assert code == 0
    assert out.index(newer.manifest.digest[:8]) < out.index(older.manifest.digest[:8])
    assert "*" not in out
    assert slipway("artifact", "promote", older.manifest.digest[:8])[1] == f"current: artifacts/{older.path.name}\n"
    assert slipway("artifact", "promote", newer.name)[0] == 0
    code, out, _ = slipway("artifact", "list", "--json")
    listed = orjson.loads(out)
    assert [(item["name"], item["current"]) for item in listed] == [(newer.name, True), (older.name, False)]
    assert listed[0]["manifest"]["digest"] == newer.manifest.digest
    assert slipway("artifact", "rollback")[1] == f"current: artifacts/{older.path.name}\n"
    code, _, err = slipway("artifact", "rollback")
    assert (code, err) == (2, "slipway: store artifacts has no previous artifact to go back to\n")


def test_show(slipway: Slipway, store: Store) -> None:
    code, _, err = slipway("artifact", "show")
    assert (code, err.count("\n")) == (2, 1)
    assert "has no current artifact" in err
    entry = store.promote(store.list()[0].name)
    code, out, _ = slipway("artifact", "show")
    assert code == 0
    assert out.startswith(f"{entry.name} (current)\n")
    for part in ("Answer from the context.", "1 bootstrapped, 1 labelled", "k 3, docs-1a2b3c4d", entry.manifest.digest):
        assert part in out
    assert orjson.loads(slipway("artifact", "show", entry.name, "--json")[1])["state"]["retrieve"] == {"k": 3}


def test_a_path_says_in_which_store_an_artifact_is(slipway: Slipway, store: Store, tmp_path: Path) -> None:
    """As `slipway compile` prints it, from any folder."""
    moved = store.folder.rename(tmp_path / "elsewhere")
    newer, older = Store(moved).list()
    assert slipway("artifact", "promote", str(older.path))[1] == f"current: {older.path}\n"
    assert slipway("artifact", "show", str(moved))[1].startswith(f"{older.name} (current)\n")
    assert slipway("artifact", "show", str(newer.path))[1].startswith(f"{newer.name}\n")


def test_brackets_in_instructions_are_shown_as_they_are(slipway: Slipway, tmp_path: Path) -> None:
    program = programs.Plain()
    program.generate.predict.signature = program.generate.predict.signature.with_instructions("Say [/red] [bold]x.")
    path = save(program, draft("programs:Plain"), tmp_path / "artifacts")
    assert "Say [/red] [bold]x." in slipway("artifact", "show", path.name)[1]


def test_a_bare_predictor_is_shown(slipway: Slipway, tmp_path: Path) -> None:
    path = save(dspy.Predict("question -> answer"), draft("dspy:Predict"), tmp_path / "artifacts")
    assert "0 bootstrapped, 0 labelled" in slipway("artifact", "show", path.name)[1]


@pytest.mark.parametrize("content", [b"\xff", b"[1]", b'{"generate": 3}', b'{"generate": {"signature": {}}}'])
def test_a_damaged_artifact_is_not_shown_but_named(slipway: Slipway, store: Store, content: bytes) -> None:
    path = store.list()[0].path
    path.write_bytes(content)
    code, _, err = slipway("artifact", "show", path.name)
    assert (code, err.count("\n")) == (2, 1)
    assert path.name in err


def test_verify_says_everything_and_exits_with_1_where_it_refuses(slipway: Slipway, store: Store) -> None:
    path = store.list()[0].path
    code, out, _ = slipway("artifact", "verify", str(path), "--program", TUTORIAL)
    assert code == 0
    assert "1 of 2 demos lack context, reasoning" in out
    assert out.endswith(f"{path.name}: verified\n")
    code, out, _ = slipway("artifact", "verify", str(path), "--program", "programs:TwoHop", "--json")
    assert code == 1
    report = orjson.loads(out)
    assert report["refused"]
    errors = {finding["check"] for finding in report["findings"] if finding["severity"] == "error"}
    assert errors == {"predictors", "fingerprint"}
    assert slipway("artifact", "verify", str(path), "--program", TUTORIAL, "--digest", "0" * 64)[0] == 1
    manifest_path(path).unlink()
    code, out, _ = slipway("artifact", "verify", str(path), "--program", TUTORIAL)
    assert code == 1
    assert "slipway artifact adopt" in out
    assert slipway("artifact", "verify", str(path), "--program", "nosuch:Program")[0] == 2


def test_strict_refuses_warnings(slipway: Slipway, store: Store) -> None:
    path = store.list()[0].path
    words = ("artifact", "verify", str(path), "--program", TUTORIAL)
    assert slipway(*words)[0] == 0
    code, out, _ = slipway(*words, "--strict", "--json")
    assert code == 1
    assert orjson.loads(out)["refused"]
    code, _, err = slipway(*words, "--collection", "nosuch")
    assert (code, err.count("\n")) == (2, 1)


def test_sign_then_verify_with_the_key(
    slipway: Slipway, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(store.list()[0].path)
    key = Ed25519PrivateKey.generate()
    pem = Encoding.PEM
    (tmp_path / "private.pem").write_bytes(key.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(pem, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    monkeypatch.setenv("SLIPWAY_ARTIFACT_PUBLIC_KEY_FILE", "public.pem")
    code, out, _ = slipway("artifact", "verify", path, "--program", TUTORIAL)
    assert code == 1
    assert "is not signed" in out
    assert slipway("artifact", "sign", path, "--key", "private.pem")[0] == 0
    code, out, _ = slipway("artifact", "verify", path, "--program", TUTORIAL)
    assert code == 0
    assert "is signed by the configured key" in out
    code, _, err = slipway("artifact", "sign", path, "--key", "nosuch.pem")
    assert (code, err) == (2, "slipway: no key can be read from nosuch.pem\n")


def test_adopt_then_verify(slipway: Slipway, tmp_path: Path) -> None:
    stored: dict[str, Any] = dump(compiled(programs.TutorialRAG()))
    stored["generate_answer"] = stored.pop("generate_answer.predict")
    (tmp_path / "rag.json").write_bytes(orjson.dumps(stored))
    code, out, _ = slipway("artifact", "adopt", "rag.json", "--program", TUTORIAL, "--store", "artifacts")
    assert code == 0
    assert "'generate_answer' is 'generate_answer.predict' in this version of DSPy" in out
    written = out.splitlines()[-1].removeprefix("written: ")
    assert slipway("artifact", "verify", written, "--program", TUTORIAL)[0] == 0
    code, _, err = slipway("artifact", "adopt", "rag.json", "--program", "programs:TwoHop")
    assert code == 2
    assert err.startswith("slipway: ")
    assert err.count("\n") == 1


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """Artifacts that differ in instructions, a demo and what was measured."""
    paths = []
    for words, tokens in (("Answer [briefly].", 400.0), ("Answer | in `words`.", 1000.0)):
        program = compiled(programs.TutorialRAG())
        predictor = program.generate_answer.predict
        predictor.signature = predictor.signature.with_instructions(words)
        predictor.demos = predictor.demos[: 1 if tokens == 400.0 else 2]
        measured = Measured(score=0.5, interval=(0.4, 0.6), n=30, prompt_tokens=tokens, completion_tokens=100.0)
        paths.append(save(program, draft(compiled=measured), tmp_path / "artifacts"))
    return str(paths[0]), str(paths[1])


def test_diff_in_words_in_markdown_and_as_json(
    slipway: Slipway, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("artifact", "diff", *two, "--program", TUTORIAL)
    code, out, _ = slipway(*words)
    assert code == 0
    assert "Answer [-[briefly]-]{+| in `words`+}." in out
    assert "+ labelled: question: q2; answer: a2" in out
    assert "not known (SLIPWAY_LM_PRICES)" in out
    monkeypatch.setenv("SLIPWAY_LM_PRICES", "0.5:2")
    code, out, _ = slipway(*words, "--markdown")
    assert code == 0
    assert out.startswith("| | before | after |\n| --- | --- | --- |\n| artifact | ")
    assert "| tokens per answer, measured | 400 + 100 | 1,000 + 100 |" in out
    assert "| 1,000 answers | $0.400 | $0.700 |" in out
    assert "```text\nAnswer [-[briefly]-]{+| in `words`+}.\n```" in out
    found = orjson.loads(slipway(*words, "--json")[1])
    assert [found[side]["usd_per_1000"] for side in ("before", "after")] == pytest.approx([0.4, 0.7])
    assert [found[side]["interval"] for side in ("before", "after")] == [[0.4, 0.6]] * 2
    [predictor] = found["predictors"]
    assert predictor["demos_kept"] == 1
    assert predictor["demos"] == [{"before": None, "after": {"question": "q2", "answer": "a2"}, "fields": []}]
    estimated = [found[side]["estimated"]["fixed_tokens"]["generate_answer.predict"] for side in ("before", "after")]
    assert 0 < estimated[0] < estimated[1]


def test_diff_without_the_programs_code(slipway: Slipway, two: tuple[str, str]) -> None:
    code, out, _ = slipway("artifact", "diff", *two)
    assert code == 0
    assert "not known (--program)" in out
    code, _, err = slipway("artifact", "diff", two[0], "nosuch.json")
    assert code == 2
    assert err.count("\n") == 1


def test_migrate_then_verify(slipway: Slipway, store: Store) -> None:
    path = store.promote(store.list()[0].name).path
    renamed = ("--program", "programs:Renamed", "--rename", "generate_answer=reply", "--field", "context=passages")
    code, out, _ = slipway("artifact", "migrate", "artifacts", *renamed, "--json")
    assert code == 0
    values = orjson.loads(out)
    assert {finding["check"] for finding in values["findings"]} == {"instructions", "score"}
    assert slipway("artifact", "verify", values["artifact"], "--program", "programs:Renamed")[0] == 0
    assert (
        Store(store.folder).find(Path(values["artifact"]).name).manifest.parent == store.find(path.name).manifest.digest
    )
    code, _, err = slipway("artifact", "migrate", "artifacts", *renamed[:2], "--rename", "generate_answer")
    assert (code, err) == (2, "slipway: --rename generate_answer: write OLD=NEW\n")
    code, _, err = slipway("artifact", "migrate", "artifacts", *renamed[:2])
    assert code == 2
    assert err.count("\n") == 1
