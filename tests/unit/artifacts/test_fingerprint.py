# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import enum
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import dspy
import programs
import pytest

from slipway_server.artifacts import fingerprint, shape_of
from slipway_server.artifacts.fingerprint import type_name


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (str, "str"),
        (list[str], "list[str]"),
        (dict[str, Any], "dict[str, Any]"),
        (Optional[int], "int | None"),  # noqa: UP045
        (int | None, "int | None"),
        (Literal["a", 1, Colour.RED], f"Literal['a', 1, {__name__}.Colour.RED]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Annotated[str, "note"], "str"),
        (Callable[[int], str], "collections.abc.Callable[[int], str]"),
        (dspy.Image, "dspy.adapters.types.image.Image"),
    ],
)
def test_a_type_has_one_name(annotation: Any, name: str) -> None:
    assert type_name(annotation) == name


def with_signature(signature: str) -> str:
    return fingerprint(dspy.ChainOfThought(signature))


@pytest.mark.parametrize(
    "other",
    [
        "question, context -> answer",
        "context: list[str], question -> answer",
        "context, query -> answer",
        "context, question -> answer, source",
        "context -> question, answer",
    ],
)
def test_order_names_types_and_kinds_of_fields_count(other: str) -> None:
    assert with_signature("context, question -> answer") != with_signature(other)


def test_what_compiling_changes_does_not_count() -> None:
    program = programs.TwoHop()
    before = fingerprint(program)
    for predictor in program.predictors():
        predictor.demos = [dspy.Example(question="q", answer="a")]
        predictor.signature = predictor.signature.with_instructions("Other.").with_updated_fields("question", desc="x")
    assert fingerprint(program) == before


def test_names_of_predictors_count() -> None:
    class Renamed(programs.Plain):
        def __init__(self) -> None:
            super().__init__()
            self.gen = self.generate
            del self.generate

    assert fingerprint(Renamed()) != fingerprint(programs.Plain())
    assert shape_of(Renamed()) == {"gen.predict": "question: str -> reasoning: str, answer: str"}


def test_the_same_in_another_process() -> None:
    code = "import programs; from slipway_server.artifacts import fingerprint; print(fingerprint(programs.Agent()))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(programs.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint(programs.Agent())
