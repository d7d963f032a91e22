# SPDX-License-Identifier: Apache-2.0
"""A wrong program path is one line that says what is wrong with it."""

from __future__ import annotations

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
