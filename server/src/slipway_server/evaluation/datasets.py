# SPDX-License-Identifier: Apache-2.0
"""Examples from JSON lines."""

from __future__ import annotations

import hashlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
import orjson

from slipway_server.errors import CallerError, DatasetInvalid

EXTRA = "dspy_extra"
"""DSPy hides keys with this prefix from `keys`, `items` and prompts."""


class LabelledExample(dspy.Example):
    """An example whose further keys are kept aside.

    `example.gold_titles` works for a metric, but neither demos nor the prompts that optimizers make of data show it.
    """

    def __getattr__(self, key: str) -> Any:
        try:
            return super().__getattr__(key)
        except AttributeError:
            extra = self.__dict__.get("_store", {}).get(EXTRA, {})
            if key in extra:
                return extra[key]
            raise

    def __getitem__(self, key: str) -> Any:
        return self._store[key] if key in self._store else self._store.get(EXTRA, {})[key]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file of examples. `digest`: sha256 of its bytes, in hex."""

    path: Path
    digest: str
    examples: Sequence[LabelledExample]


def read_dataset(
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> Dataset:
    """Read `{"question": …, "answer": …, …}`, one object per line; empty lines are skipped.

    Each line has all `inputs`, and at least one of `outputs` unless these are not known; null is none. Other keys are
    kept aside.

    Args:
        path: File in UTF-8.
        inputs: The program's input fields.
        outputs: The program's output fields; empty where they are not known, then all other keys are labels.
        check: Checks and converts a line's inputs; an Input… error of it becomes a DatasetInvalid.

    Raises:
        DatasetInvalid: Names file and line.
    """
    content = content_of(path)
    examples = [_example(place, row, inputs, outputs, check) for place, row in rows_of(path, content)]
    if not examples:
        raise DatasetInvalid(f"{path}: has no examples; each line is a JSON object with {', '.join(inputs)}")
    return Dataset(path, hashlib.sha256(content).hexdigest(), examples)


def content_of(path: Path) -> bytes:
    """The bytes of a file. Raises DatasetInvalid, which says why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetInvalid(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None


def rows_of(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place (file:line) and JSON object of each line that is not empty. Raises DatasetInvalid with the place."""
    for number, line in enumerate(content.removeprefix(BOM_UTF8).splitlines(), 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise DatasetInvalid(f"{place}: is not JSON; each line is one JSON object") from None
        if not isinstance(row, dict):
            raise DatasetInvalid(f"{place}: is not a JSON object")
        yield place, row


def _example(
    place: str,
    row: dict[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None,
) -> LabelledExample:
    missing = [name for name in inputs if name not in row]
    if missing:
        raise DatasetInvalid(f"{place}: lacks the input '{missing[0]}' (the program takes {', '.join(inputs)})")
    labels = [name for name in (outputs or row) if row.get(name) is not None and name not in inputs]
    if not labels:
        raise DatasetInvalid(f"{place}: has no label, none of {', '.join(outputs) or 'any output'}")
    given = {name: row[name] for name in inputs}
    if check is not None:
        try:
            given = dict(check(given))
        except CallerError as error:
            raise DatasetInvalid(f"{place}: {error.message}") from None
    extra = {name: value for name, value in row.items() if name not in given and name not in labels}
    # In one mapping: as keyword arguments, a field called `base` would be taken for another example.
    return LabelledExample({**given, **{name: row[name] for name in labels}, EXTRA: extra}).with_inputs(*inputs)
