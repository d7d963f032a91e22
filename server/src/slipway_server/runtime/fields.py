# SPDX-License-Identifier: Apache-2.0
"""A program's input and output fields: found once, then every request's inputs are checked against them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

import dspy
from pydantic import TypeAdapter, ValidationError

from slipway_server.errors import InputEmpty, InputMissingField, InputUnknownField, InputWrongType

_PROBE_TEXT = "Is this service ready?"


@dataclass(frozen=True, slots=True)
class Field:
    """One input field. `annotation` is Any where the program does not say."""

    name: str
    annotation: Any
    required: bool


class InputFields:
    """Checks inputs against a program::

    fields = InputFields.of(program)
    kwargs = fields.checked({"question": "…"})      # raises InputUnknownField, InputMissingField, …
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = dict(fields)
        self._required = [name for name, field in fields.items() if field.required]
        self._types = {name: TypeAdapter(field.annotation) for name, field in fields.items()}

    @classmethod
    def of(cls, program: Any) -> InputFields:
        """The fields that `program` takes: its method's parameters, or its signature's fields for **kwargs."""
        declared = _signature_fields(program)
        # Past dspy.Module, which warns of everybody who looks at `forward`.
        entry = object.__getattribute__(program, "aforward" if hasattr(type(program), "aforward") else "forward")
        parameters = list(inspect.signature(entry).parameters.values())
        hints = _hints(entry)
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            own = getattr(program, "signature", None) or _first_signature(program)
            names = {name: Field(name, info.annotation, True) for name, info in own.input_fields.items()} if own else {}
        else:
            names = {}
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                annotation = hints.get(parameter.name, declared.get(parameter.name, Any))
                names[parameter.name] = Field(parameter.name, annotation, parameter.default is parameter.empty)
        return cls(names)

    @property
    def names(self) -> list[str]:
        """In the program's order."""
        return list(self._fields)

    def checked(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """`inputs` as the program's types. Raises an Input… error that names the field."""
        for name in inputs:
            if name not in self._fields:
                raise InputUnknownField(
                    f"unknown field '{name}'; the program takes {', '.join(self._fields) or 'no fields'}", field=name
                )
        for name in self._required:
            if name not in inputs:
                raise InputMissingField(f"field '{name}' is missing", field=name)
        blank = [name for name, value in inputs.items() if isinstance(value, str) and not value.strip()]
        if blank and ("question" in blank or len(blank) == sum(isinstance(value, str) for value in inputs.values())):
            raise InputEmpty(f"field '{blank[0]}' is empty", field=blank[0])
        return {name: self._typed(name, value) for name, value in inputs.items()}

    def probe(self) -> dict[str, Any] | None:
        """Plausible inputs for a dry run, or None where a field's type has no obvious value."""
        values: dict[str, Any] = {}
        for name, field in self._fields.items():
            if not field.required:
                continue
            found = _probe_value(field.annotation)
            if found is None:
                return None
            values[name] = found
        return values

    def _typed(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and self._fields[name].annotation is str and value.isascii():
            return value  # as most are; the way through JSON finds what is wrong with others
        try:
            return self._types[name].validate_json(json.dumps(_whole_numbers(value)), strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join([name, *(str(part) for part in problem["loc"])])
            raise InputWrongType(f"field '{place}': {problem['msg'].lower()}", field=name) from None


def output_names(program: Any) -> list[str]:
    """The output fields as far as they are known before a run: the program's signature's, or its last predictor's."""
    own = getattr(program, "signature", None)
    if own is not None and hasattr(own, "output_fields"):
        return list(own.output_fields)
    predictors = program.predictors()
    return list(predictors[-1].signature.output_fields) if predictors else []


def _first_signature(program: Any) -> Any:
    predictors = program.predictors()
    return predictors[0].signature if predictors else None


def _signature_fields(program: Any) -> dict[str, Any]:
    """Types of all predictors' input fields by name, for parameters that have no annotation of their own."""
    found: dict[str, Any] = {}
    for predictor in program.predictors():
        for name, info in predictor.signature.input_fields.items():
            found.setdefault(name, info.annotation)
    return found


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _whole_numbers(value: Any) -> Any:
    """google.protobuf.Struct knows doubles only: 3.0 is the caller's 3."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    return value


def _probe_value(annotation: Any) -> Any:
    simple: dict[Any, Any] = {str: _PROBE_TEXT, Any: _PROBE_TEXT, int: 1, float: 1.0, bool: True}
    if annotation in simple:
        return simple[annotation]
    origin = get_origin(annotation) or annotation
    if origin is list:
        return [_PROBE_TEXT] if get_args(annotation) in ((str,), ()) else []
    if origin is dict:
        return {}
    return None


def jsonable(prediction: Any) -> dict[str, Any]:
    """A prediction's fields as JSON values."""
    items = dict(prediction.items()) if isinstance(prediction, dspy.Prediction) else {"answer": prediction}
    return {name: value if isinstance(value, str) else _json_value(value) for name, value in items.items()}


def _json_value(value: Any) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json", fallback=str)
