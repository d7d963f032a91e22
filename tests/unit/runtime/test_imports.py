# SPDX-License-Identifier: Apache-2.0
"""A wrong program path is one line that says what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slipway_server.errors import ProgramInvalid
from slipway_server.runtime.imports import import_program


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("RAG", "not of the form"),
        ("slipway_server.programs.rag", "not of the form"),
        ("nosuchpackage.module:Class", "module nosuchpackage is not installed"),
        ("slipway_server.programs.nosuch:RAG", "slipway_server.programs.nosuch does not exist"),
        ("slipway_server.programs.rag:Nosuch", "has no Nosuch"),
        ("slipway_server.config:Settings", "not a dspy.Module class"),
    ],
)
def test_wrong_paths(path: str, message: str) -> None:
    with pytest.raises(ProgramInvalid, match=message):
        import_program(path)


def test_a_module_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_the_shell.py").write_text("import dspy\n\nclass Mine(dspy.Module):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    assert import_program("beside_the_shell:Mine").__name__ == "Mine"


def test_a_module_with_a_syntax_error_is_the_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_written.py").write_text("class Mine(:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProgramInvalid, match="half_written"):
        import_program("half_written:Mine")


@pytest.mark.parametrize("failure", ["raise ValueError('two\\nlines')", "import math\nmath.nosuch", "1 / 0"])
def test_whatever_a_module_raises_is_one_line(failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text(f"{failure}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(ProgramInvalid, match="'broken:Mine': cannot be imported, ") as caught:
        import_program("broken:Mine")
    assert "\n" not in caught.value.message
