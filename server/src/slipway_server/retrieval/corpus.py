# SPDX-License-Identifier: Apache-2.0
"""Documents from JSON lines, folders of text, and Hugging Face datasets. Everything here blocks its thread.

documents = read(Path("docs.jsonl"))
documents = read("owner/dataset", split="train", fields=Fields(text="paragraphs"))
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from slipway_server.errors import CorpusInvalid

TEXT_SUFFIXES = (".txt", ".md")


@dataclass(frozen=True, slots=True)
class Document:
    """One document before it is cut. An empty `id` means that passages are named by their content."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of a record's fields. Only the text must be there; a list is joined by spaces."""

    text: str = "text"
    title: str = "title"
    id: str = "id"


def read(corpus: str | Path, *, split: str | None = None, fields: Fields | None = None) -> Iterator[Document]:
    """The documents of a .jsonl file, a folder of .txt and .md files or, where `split` is given, a dataset.

    Raises CorpusInvalid: nothing there, no documents, or a record that is not an object with text.
    """
    fields = fields or Fields()
    path = Path(corpus)
    if split is not None:
        documents = _dataset(str(corpus), split, fields)
    elif path.is_dir():
        documents = _folder(path)
    elif path.is_file():
        documents = _json_lines(path, fields)
    else:
        raise CorpusInvalid(f"There is no file or folder at {corpus}; a Hugging Face dataset needs --split")
    found = False
    try:
        for document in documents:
            found = True
            yield document
    except OSError as error:
        raise CorpusInvalid(f"The corpus {corpus} cannot be read ({error.strerror})") from error
    if not found:
        raise CorpusInvalid(f"The corpus {corpus} has no documents")


def _json_lines(path: Path, fields: Fields) -> Iterator[Document]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = orjson.loads(line.removeprefix(codecs.BOM_UTF8))
            except orjson.JSONDecodeError:
                raise CorpusInvalid(f"{path}, line {number}: not JSON") from None
            yield _document(record, fields, f"{path}, line {number}")


def _folder(root: Path) -> Iterator[Document]:
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in TEXT_SUFFIXES or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise CorpusInvalid(f"{path}: not UTF-8 text") from None
        yield Document(path.relative_to(root).as_posix(), _heading(text) or path.stem, text)


def _heading(text: str) -> str:
    """A Markdown heading on the first line, or nothing."""
    first = text.lstrip().partition("\n")[0].strip()
    return first.lstrip("#").strip() if first.startswith("#") else ""


def _dataset(name: str, split: str, fields: Fields) -> Iterator[Document]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise CorpusInvalid(f"Reading the dataset {name} needs a package: pip install datasets") from None
    try:
        rows = load_dataset(name, split=split)
    except Exception as error:
        raise CorpusInvalid(f"The dataset {name}, split {split}, does not load ({type(error).__name__})") from error
    for number, row in enumerate(rows):
        yield _document(row, fields, f"{name}, row {number}")


def _document(record: Any, fields: Fields, where: str) -> Document:
    if not isinstance(record, Mapping):
        raise CorpusInvalid(f"{where}: not a JSON object")
    text = _joined(record.get(fields.text))
    if text is None:
        raise CorpusInvalid(f"{where}: no text in the field '{fields.text}'; --field names another one")
    identity = record.get(fields.id)
    return Document("" if identity is None else str(identity), _joined(record.get(fields.title)) or "", text)


def _joined(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [_joined(item) for item in value]
        return None if None in parts else " ".join(part for part in parts if part)
    return None
