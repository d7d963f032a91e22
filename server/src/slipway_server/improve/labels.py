# SPDX-License-Identifier: Apache-2.0
"""Training examples from feedback: what users corrected, and what they called good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dspy
import orjson

from slipway_server.artifacts.canonical import canonical
from slipway_server.errors import CallerError
from slipway_server.evaluation import LabelledExample
from slipway_server.runtime.fields import InputFields
from slipway_server.traffic import Feedback


def labelled(
    feedback: Iterable[Feedback], program: dspy.Module, never: Sequence[dspy.Example]
) -> list[LabelledExample]:
    """Examples by input, the newest label of each; corrections win over praise.

    Left out is what does not fit the program's fields, and every input that occurs in `never`: held-out examples and
    anchors must stay unseen.
    """
    fields = InputFields.of(program)
    outputs = {name for predictor in program.predictors() for name in predictor.signature.output_fields}
    forbidden = {_key(dict(example.inputs().items())) for example in never}
    found: dict[bytes, LabelledExample] = {}
    for item in sorted(feedback, key=lambda item: (bool(item.correct_outputs), item.time)):
        labels = item.correct_outputs or (item.outputs if item.rating == "good" else {})
        known = {name: value for name, value in labels.items() if name in outputs and value is not None}
        try:
            inputs = fields.checked(item.inputs)
        except CallerError:
            continue
        key = _key(inputs)
        if known and key not in forbidden:
            found[key] = LabelledExample({**inputs, **known}).with_inputs(*inputs)
    return [found[key] for key in sorted(found)]


def _key(inputs: dict[str, Any]) -> bytes:
    """Inputs without the differences that make no other question: case and white space."""
    plain = {
        name: " ".join(value.lower().split()) if isinstance(value, str) else value for name, value in inputs.items()
    }
    try:
        return canonical(plain)
    except orjson.JSONEncodeError:
        return repr(sorted(plain.items())).encode()
