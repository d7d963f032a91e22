# SPDX-License-Identifier: Apache-2.0
"""The signature fingerprint: what an artifact is bound to.

    fingerprint(RAG())     # 64 hex digits; the same in every process

Hashed are every predictor's name and its fields' names, kinds, types and order. DSPy stores descriptions by position,
so that a field moved in the code would silently take another one's description; instructions and descriptions
themselves are what a compilation changes and are left out. A class among the types counts by its name, not its content.
"""

from __future__ import annotations

import enum
import hashlib
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import dspy

from slipway_server.artifacts.canonical import canonical

_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[\[\]()]| -> |,""")
"""Quoted text, brackets and separators, as `type_name` writes them."""

Shape = dict[str, str]
"""Predictor's name → its fields, as in `{"generate": "context: list[str], question: str -> answer: str"}`."""


def fingerprint(program: dspy.Module) -> str:
    """sha256, in hex, over the canonical JSON of `shape_of(program)`."""
    return fingerprint_of(shape_of(program))


def fingerprint_of(shape: Shape) -> str:
    """The fingerprint of a manifest's shape. The order of predictors does not count, that of fields does."""
    return hashlib.sha256(canonical(shape)).hexdigest()


def shape_of(program: dspy.Module) -> Shape:
    """Every predictor of `program` with its fields, in the order of the code."""
    return {name: fields_text(predictor.signature) for name, predictor in program.named_predictors()}


def fields_of(shape: str) -> list[tuple[str, str]]:
    """Names and types of the fields of one predictor, inputs first, out of a manifest's `predictors`.

    `fields_of("context: list[str], question: str -> answer: str")[0]` is `("context", "list[str]")`. Separators inside
    brackets and quotes belong to a type.
    """
    return [(name, kind) for name, kind, _ in _parsed(shape)]


def inputs_of(shape: str) -> list[str]:
    """Names of the input fields in such a text."""
    return [name for name, _, is_output in _parsed(shape) if not is_output]


def _parsed(shape: str) -> Iterator[tuple[str, str, bool]]:
    """Name, type and whether it is an output; cut at each comma and arrow that is not inside brackets or quotes."""
    depth, start, is_output = 0, 0, False
    ends = [(token[0], token.start(), token.end()) for token in _TOKEN.finditer(shape)]
    for text, begin, end in [*ends, (",", len(shape), len(shape))]:
        if text in (",", " -> ") and (depth == 0 or end == len(shape)):
            name, _, kind = shape[start:begin].partition(":")
            if name.strip():
                yield name.strip(), kind.strip(), is_output
            start, is_output = end, is_output or text == " -> "
        depth += (text in "([") - (text in ")]") if len(text) == 1 else 0


def fields_text(signature: Any) -> str:
    """The fields of a signature, as a manifest has them."""
    inputs = ", ".join(f"{name}: {type_name(info.annotation)}" for name, info in signature.input_fields.items())
    outputs = ", ".join(f"{name}: {type_name(info.annotation)}" for name, info in signature.output_fields.items())
    return f"{inputs} -> {outputs}"


def type_name(annotation: Any) -> str:
    """A type's name, the same in every process and Python version: `list[str]`, `str | None`, `Literal['a', 'b']`."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return f"Literal[{', '.join(_literal(argument) for argument in arguments)}]"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_name(argument) for argument in arguments)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is not None and arguments:
        return f"{type_name(origin)}[{', '.join(type_name(argument) for argument in arguments)}]"
    if isinstance(annotation, list):
        return f"[{', '.join(type_name(argument) for argument in annotation)}]"
    name = getattr(annotation, "__qualname__", None) or getattr(annotation, "_name", None) or str(annotation)
    module = getattr(annotation, "__module__", "")
    return name if module in ("builtins", "typing", "") else f"{module}.{name}"


def _literal(value: Any) -> str:
    return f"{type_name(type(value))}.{value.name}" if isinstance(value, enum.Enum) else repr(value)
