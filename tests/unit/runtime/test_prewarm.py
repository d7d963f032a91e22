# SPDX-License-Identifier: Apache-2.0
"""Files of questions are read as JSON lines, whoever wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_server.errors import DatasetInvalid
from slipway_server.runtime.prewarm import load_questions


def test_separators_within_a_string_and_a_mark_at_the_start_are_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    question = "one\u2028two\u2029three\u0085four"
    path.write_text(f'\ufeff{{"question": "{question}", "other": 1}}\r\n\n{{"question": "q"}}\n', encoding="utf-8")
    assert load_questions(path, ["question"], limit=10) == [{"question": question}, {"question": "q"}]
    assert load_questions(path, ["question"], limit=1) == [{"question": question}]


@pytest.mark.parametrize("content", [b'{"question": "q"}\n[1]', b'{"question": "q"}\n{"question": "\xff"}', b"\n{"])
def test_a_wrong_line_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetInvalid, match=r"questions\.jsonl:2: not a JSON object in UTF-8"):
        load_questions(path, ["question"], limit=10)
