# SPDX-License-Identifier: Apache-2.0
"""Commands in this process, over the shared collection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slipway_server.cli import main
from slipway_server.telemetry import logs

Slipway = Callable[..., tuple[int, str, str]]


@pytest.fixture
def slipway(
    isles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Slipway:
    """`slipway("artifact", "list")` → exit code, standard output, standard error; in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLIPWAY_DATA_DIR", str(isles))
    monkeypatch.setenv("SLIPWAY_COLLECTION", "isles")
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "cache"))
    monkeypatch.setattr(logs, "configure", lambda level, style: None)  # it would replace pytest's own handlers

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["slipway", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(ended.value.code or 0), out, err

    return run
