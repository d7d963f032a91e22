# SPDX-License-Identifier: Apache-2.0
"""slipway cache …, as a user types it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slipway_server.cache import care
from slipway_server.cache.properties import Verdict
from slipway_server.cache.store import DiskStore
from slipway_server.cli.cache import command, exit_code
from slipway_server.errors import ConfigInvalid, DatasetInvalid

Run = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskStore:
    """The configured volume, with two whole entries and a damaged one, a year old."""
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "volume"))
    store = DiskStore(tmp_path / "volume")
    for digest in ("ab" * 32, "cd" * 32, "ef" * 32):
        store.put(digest, b"value")
        os.utime(store.folder.entry(digest), (1_700_000_000, 1_700_000_000))
    Path(store.folder.entry("ef" * 32)).write_bytes(b"junk")
    os.utime(store.folder.entry("ef" * 32), (1_700_000_000, 1_700_000_000))
    return store


def run(*arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)


def test_stats(store: DiskStore) -> None:
    code, found = run("stats")
    assert (code, found["entries"]) == (0, 3)
    assert found["oldest_seconds"] > 365 * 86400


def test_verify_says_by_its_exit_code_and_repairs(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(care, "REMEMBERED_SECONDS", 0.0)
    assert run("verify") == (1, {"whole": 2, "faults": {"foreign": 1}, "removed": 0})
    assert run("verify", "--repair")[1]["removed"] == 1
    assert run("verify") == (0, {"whole": 2, "faults": {}, "removed": 0})


def test_gc(store: DiskStore) -> None:
    code, found = run("gc", "--max-age-days", "100", "--grace-seconds", "0")
    assert (code, found["removed"], found["kept"]) == (0, 3, 0)
    assert store.get("ab" * 32) == "absent"


def test_gc_by_size(store: DiskStore) -> None:
    assert run("gc", "--max-age-days", "100000", "--max-bytes", "1K", "--grace-seconds", "0")[1]["removed"] == 0
    assert run("gc", "--max-age-days", "100000", "--max-bytes", "0.1K", "--grace-seconds", "0")[1]["removed"] == 2


@pytest.mark.parametrize("size", ["", "x", "-1", "1Q", "1 000"])
def test_a_wrong_size_is_named(store: DiskStore, size: str) -> None:
    with pytest.raises(ConfigInvalid, match="--max-bytes"):
        run("gc", "--max-bytes", size)


@pytest.mark.parametrize("option", ["--max-age-days", "--min-age-minutes", "--grace-seconds"])
def test_an_endless_time_is_refused(store: DiskStore, option: str) -> None:
    assert CliRunner().invoke(command, ["gc", option, "inf"]).exit_code == 2


def test_an_unusable_volume_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "file"))
    with pytest.raises(ConfigInvalid, match=r"DSPY_CACHEDIR: cannot use .*file"):
        run("stats")


def test_a_world_writable_folder_is_named(store: DiskStore) -> None:
    Path(store.folder.root).chmod(0o777)
    with pytest.raises(ConfigInvalid, match="writable by everybody"):
        run("stats")


def test_nobody_meets_the_doctor(store: DiskStore) -> None:
    result = CliRunner().invoke(command, ["doctor", "--wait-seconds", "1", "--json"])
    assert result.exit_code == 3
    assert "two pods at once" in result.stderr
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [({"ok", "slow"}, 0), ({"ok", "unclear"}, 3), ({"ok", "unclear", "failed"}, 1)],
)
def test_the_doctor_says_by_its_exit_code_what_it_saw(verdicts: set[str], code: int) -> None:
    assert exit_code({Verdict(one) for one in verdicts}) == code


@pytest.mark.parametrize("content", ["", "[1]\n", "{\n"])
def test_bad_questions_are_named(tmp_path: Path, content: str) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(content)
    with pytest.raises(DatasetInvalid, match="questions"):
        run("warm", "--questions", str(questions))


def test_questions_may_come_from_a_pipe_but_not_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="is a directory"):
        run("warm", "--questions", str(tmp_path))
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write("[1]\n")
    with pytest.raises(DatasetInvalid, match=":1: is not a JSON object"):
        run("warm", "--questions", f"/dev/fd/{reading}")
    os.close(reading)
