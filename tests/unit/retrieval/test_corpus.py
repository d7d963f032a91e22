# SPDX-License-Identifier: Apache-2.0
"""Corpora: JSON lines, folders, datasets; each mistake names its place."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from slipway_server.errors import CorpusInvalid
from slipway_server.retrieval.corpus import Document, Fields, read


def test_json_lines_with_and_without_id_and_title(tmp_path: Path) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"id": 7, "title": "T", "text": "One."}\n\n{"text": ["Two.", "Three."]}\n')
    assert list(read(file)) == [Document("7", "T", "One."), Document("", "", "Two. Three.")]


def test_fields_may_have_other_names(tmp_path: Path) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_text('{"key": "a", "name": "N", "body": "B"}\n')
    assert list(read(file, fields=Fields(text="body", title="name", id="key"))) == [Document("a", "N", "B")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{not json", "docs.jsonl, line 2: not JSON"),
        (b'"text"', "line 2: not a JSON object"),
        (b'["text"]', "line 2: not a JSON object"),
        (b'{"title": "no text"}', "line 2: no text in the field 'text'; --field names another one"),
        (b'{"text": 5}', "line 2: no text in the field 'text'"),
        (b'{"text": ["a", 5]}', "line 2: no text in the field 'text'"),
        (b'{"text": "\xff\xfe"}', "line 2: not JSON"),
    ],
)
def test_a_wrong_line_names_itself(tmp_path: Path, line: bytes, message: str) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_bytes(b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(CorpusInvalid, match=message):
        list(read(file))


def test_a_folder_of_text_and_markdown(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("Plain text.")
    (tmp_path / "sub" / "a.md").write_text("# The *title*\n\nBody.")
    (tmp_path / "ignored.pdf").write_bytes(b"\x00")
    assert list(read(tmp_path)) == [
        Document("b.txt", "b", "Plain text."),
        Document("sub/a.md", "The *title*", "# The *title*\n\nBody."),
    ]


def test_a_file_that_is_not_text_names_itself(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorpusInvalid, match=r"bad\.txt: not UTF-8"):
        list(read(tmp_path))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs.jsonl").write_text('{"text": "x"}')

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(CorpusInvalid, match=r"cannot be read \(Permission denied\)"):
        list(read(tmp_path / "docs.jsonl"))


@pytest.mark.parametrize("name", ["empty.jsonl", "folder", "nowhere"])
def test_an_empty_or_missing_corpus_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CorpusInvalid, match=r"no documents|no file or folder"):
        list(read(tmp_path / name))


def test_a_dataset_joins_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("datasets")

    def load_dataset(name: str, split: str) -> list[dict[str, object]]:
        if split != "train":
            raise ValueError("secret detail")
        return [{"paragraphs": ["One.", ["Two.", ""]], "id": 3}]

    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    assert list(read("owner/name", split="train", fields=Fields(text="paragraphs"))) == [Document("3", "", "One. Two.")]
    with pytest.raises(CorpusInvalid, match=r"owner/name, split dev, does not load \(ValueError\)"):
        list(read("owner/name", split="dev"))


def test_a_dataset_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusInvalid, match="pip install datasets"):
        list(read("owner/name", split="train"))
