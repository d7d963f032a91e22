# SPDX-License-Identifier: Apache-2.0
"""slipway cache warm: what it has asked is there for the next process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).parents[2] / "support"


def warm(tmp_path: Path, *lines: str) -> tuple[int, dict[str, Any]]:
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(lines))
    command = ("cache", "warm", "--questions", str(questions), "--program", "programs:ForwardOnly", "--json")
    done = subprocess.run(
        [sys.executable, "-c", "from slipway_server.cli import main; main()", *command, "--allow-uncompiled"],
        env={**os.environ, "DSPY_CACHEDIR": str(tmp_path / "volume"), "PYTHONPATH": str(SUPPORT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_warm(tmp_path: Path) -> None:
    code, found = warm(tmp_path, '{"question": "one?"}', "", '{"question": "two?", "answer": "2"}')
    assert (code, found) == (0, {"miss": 2})
    code, found = warm(tmp_path, '{"question": "two?"}', '{"query": "one?"}')
    assert (code, found) == (1, {"disk": 1, "failed: INPUT_MISSING_FIELD": 1})
