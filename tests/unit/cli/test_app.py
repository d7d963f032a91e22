# SPDX-License-Identifier: Apache-2.0
"""Whatever a user can mend is one line and exit code 2; a fault of ours keeps its traceback."""

from __future__ import annotations

import errno
import importlib.metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from slipway_server.cli import app
from slipway_server.errors import CorpusInvalid


def ended(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> int:
    def run() -> None:
        raise failure

    monkeypatch.setattr(app, "app", run)
    with pytest.raises(SystemExit) as caught:
        app.main()
    return int(caught.value.code or 0)


def test_an_error_of_the_catalogue(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, CorpusInvalid("docs.jsonl, line 2: not JSON")) == 2
    assert capsys.readouterr() == ("", "slipway: docs.jsonl, line 2: not JSON\n")


@pytest.mark.parametrize("kind", [PermissionError, NotADirectoryError, FileNotFoundError])
def test_a_file_or_folder_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[OSError]
) -> None:
    assert ended(monkeypatch, kind(1, "Cannot be done", "some/folder")) == 2
    assert capsys.readouterr() == ("", "slipway: some/folder: cannot be done\n")


def test_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, KeyboardInterrupt()) == 130


def test_an_argument_that_is_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["slipway", "traffic", "forget", "--routing-key", "\udcff", "--dir", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "slipway: '\\udcff' is no text in UTF-8\n"


def test_a_volume_that_is_full(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, OSError(errno.ENOSPC, "No space left on device")) == 2
    assert capsys.readouterr() == ("", "slipway: no space left on device\n")


@pytest.mark.parametrize("failure", [OSError("without a file"), ValueError("a fault")])
def test_a_fault_is_not_hidden_nor_taken_for_what_a_check_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: Exception
) -> None:
    assert ended(monkeypatch, failure) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.endswith(f"{type(failure).__name__}: {failure}\n")


def test_a_data_folder_below_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    corpus = tmp_path / "docs.jsonl"
    corpus.write_text('{"text": "' + "A sentence. " * 20 + '"}\n')
    monkeypatch.setenv("SLIPWAY_DATA_DIR", str(corpus / "data"))
    monkeypatch.setattr("sys.argv", ["slipway", "ingest", "--corpus", str(corpus), "--json"])
    with pytest.raises(SystemExit) as caught:
        app.main()
    shown = capsys.readouterr().err
    assert caught.value.code == 2
    assert shown.startswith(f"slipway: {corpus / 'data'}")
    assert shown.endswith(": not a directory\n")


def test_the_version_is_that_of_the_distribution() -> None:
    shown = CliRunner().invoke(app.app, ["--version"])
    assert (shown.exit_code, shown.stdout) == (0, f"slipway {importlib.metadata.version('slipway-server')}\n")
