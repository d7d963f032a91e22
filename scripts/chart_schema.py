# SPDX-License-Identifier: Apache-2.0
"""Schemas of a chart's values that say what to do.

    fitting({"type": "integer", "minimum": 0})
    # {"if": {"type": "integer", "minimum": 0}, "else": {"const": "a whole number of 0 or more"}}

Helm checks values before it renders anything, and prints of a failed `const` where the value is and what it must be:
`at '/serving/replicas': value must be 'a whole number of 0 or more, or null'`. So the usual keywords are the `if`, and
the sentence is what the `else` asks for. What has a clear message of its own stays: enumerations, lists, mappings.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

Schema = dict[str, Any]

WORDS = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
AS_TEXT = "; --set-string gives digits as text"
AS_NUMBER = "; --set makes text of a fraction, --set-json does not"


def closed(properties: Schema, owner: str, *, instead: str = "", required: Collection[str] = ()) -> Schema:
    """An object with these properties and no others. `owner` is what it is called; `instead` what to take in place of a
    list of its properties."""
    known = instead or f"{owner} has {', '.join(properties)}"
    sentence = f"left out, for there is no such value: {known}"
    needed = {"required": list(required)} if required else {}
    return {
        "type": "object",
        "additionalProperties": {"const": sentence, "not": {"const": sentence}},  # which nothing fits
        **needed,
        "properties": properties,
    }


def fitting(schema: Schema) -> Schema:
    """A schema of one value, with its sentence. `says` is that sentence where the keywords do not give it.

    Raises ValueError where a pattern, or a choice of types, has none.
    """
    schema = dict(schema)
    says = schema.pop("says", "")
    text = {key: schema.pop(key) for key in ("description",) if key in schema}
    if "enum" in schema:
        return {"enum": schema["enum"], **text}
    for key in ("additionalProperties", "items"):
        if isinstance(schema.get(key), dict):
            schema[key] = fitting(schema[key])
    kinds = {schema["type"]} if isinstance(schema.get("type"), str) else set(schema.get("type", ()))
    if not says and (not kinds or kinds & {"object", "array"}):
        return {**schema, **text}
    return {"if": schema, "else": {"const": says or _sentence(schema, kinds)}, **text}


def _sentence(schema: Schema, kinds: set[str]) -> str:
    try:
        [kind] = kinds - {"null"}
    except ValueError:
        raise ValueError(f"{schema} needs a sentence: says") from None
    if "pattern" in schema or schema.get("minLength", 0) > 1:
        raise ValueError(f"{schema} needs a sentence: says")
    hint = {"string": AS_TEXT, "number": AS_NUMBER}.get(kind, "")
    empty = ", not empty" if "minLength" in schema else ""
    return WORDS[kind] + _range(schema) + empty + (", or null" if "null" in kinds else "") + hint


def _range(schema: Schema) -> str:
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f" from {least} to {most}"
    bounds = [
        *([f"above {above}"] if above is not None else []),
        *([f"of {least} or more"] if least is not None else []),
        *([f"below {below}"] if below is not None else []),
        *([f"at most {most}"] if most is not None else []),
    ]
    return f" {' and '.join(bounds)}" if bounds else ""
