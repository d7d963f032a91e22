# SPDX-License-Identifier: Apache-2.0
"""What the demonstration tells to type can be typed."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from slipway_server.config import FILE_KEY
from slipway_server.demo import show


def test_the_last_words_name_folders_of_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE_KEY, "my local.env")
    said = io.StringIO()
    show.closing(Console(file=said, width=400), 1.0, Path("my demo"), "p:P", "merrin", offline=False)
    words = shlex.split(said.getvalue(), comments=True)
    assert {f"{FILE_KEY}=my local.env", "SLIPWAY_DATA_DIR=my demo/data", "my demo/artifacts"} <= set(words)
