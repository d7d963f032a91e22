# SPDX-License-Identifier: Apache-2.0
"""A world of its own for each test, and the command line in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import drifting_world
import orjson
import pytest

from slipway_server.cli import main
from slipway_server.telemetry import logs


@pytest.fixture
def world(tmp_path: Path) -> Iterator[drifting_world.World]:
    """A world whose artifact was just promoted."""
    with drifting_world.opened(tmp_path) as made:
        yield made


@pytest.fixture
def slipway(
    world: drifting_world.World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Any]]:
    """`slipway("reevaluate", …)`: exit code and the JSON that it prints."""
    monkeypatch.chdir(world.folder)
    monkeypatch.setattr(logs, "configure", lambda level, style: None)  # it would replace pytest's own handlers

    def run(*words: str) -> tuple[int, Any]:
        for key, value in world.environment.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr("sys.argv", ["slipway", *words, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), orjson.loads(printed.out) if printed.out else printed.err

    return run
