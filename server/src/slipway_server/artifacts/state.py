# SPDX-License-Identifier: Apache-2.0
"""A program's compiled state as DSPy's own JSON: taken from a program, and put into a fresh one.

    state = dump(program)            # {"generate.predict": {"traces": [], …}, "metadata": {…}}
    apply(state, fresh_program)      # after `verify` has passed it

DSPy's `save` fails on a program that holds a dspy.Retrieve and on one whose LM has a custom engine; `dump` does not,
and gives what `save` would write otherwise.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import dspy
from dspy.predict.parameter import Parameter
from dspy.utils.saving import get_dependency_versions
from pydantic import BaseModel, ConfigDict, JsonValue

from slipway_server.errors import ArtifactInvalid

METADATA = "metadata"
AUGMENTED = "augmented"
"""Key that bootstrapping adds to a demo; labelled demos lack it."""
State = dict[str, Any]
"""An artifact's JSON: parameter's name → its state, and DSPy's metadata."""
BARE = "self"
"""DSPy's name for the one predictor of a program that is itself a dspy.Predict; its state has no names."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class FieldState(_Closed):
    """A field's texts in the prompt."""

    prefix: str
    description: str


class SignatureState(_Closed):
    """Instructions and, by position, the fields."""

    instructions: str
    fields: list[FieldState]


class DecisionConfig(_Closed):
    """Settings of a decision output, as ReAnchor fits them."""

    instructions: JsonValue = None
    criteria: JsonValue = None
    threshold: float | None = None
    cuts: list[float] | None = None
    weights: dict[str, float] | None = None


class PredictorState(_Closed):
    """All that an artifact may say about a predictor. DSPy would set any further key as an attribute."""

    traces: list[JsonValue]
    train: list[JsonValue]
    demos: list[dict[str, JsonValue]]
    signature: SignatureState
    fields: dict[str, DecisionConfig] = {}
    lm: Literal[None]


class RetrieverState(_Closed):
    """All that an artifact may say about a dspy.Retrieve."""

    k: int


class MetadataState(_Closed):
    """DSPy's own note of versions."""

    dependency_versions: dict[str, str]


def model_of(parameter: Parameter) -> type[PredictorState | RetrieverState] | None:
    """The form of a parameter's state, or None for a kind that artifacts do not carry (dspy.Flex stores code)."""
    if isinstance(parameter, dspy.Retrieve):
        return RetrieverState
    return PredictorState if isinstance(parameter, dspy.Predict) else None


def named_states(program: dspy.Module, state: State) -> dict[str, Any]:
    """`state` by parameter, without DSPy's metadata."""
    rest = {name: value for name, value in state.items() if name != METADATA}
    return {BARE: rest} if isinstance(program, dspy.Predict) else rest


def dump(program: dspy.Module) -> State:
    """The state of `program` with LMs left out, demos cut to their signature and keys in a stable order.

    A demo keeps the fields of its predictor's signature; one that has none of its inputs or none of its outputs is
    dropped. DSPy's adapters skip both when they build a prompt, so the prompts stay the same.

    Raises:
        ArtifactInvalid: The program holds a parameter that cannot be stored, or no predictor that DSPy can see.
    """
    if not program.named_predictors():
        raise ArtifactInvalid(
            "the program has no predictor that DSPy can see, so its state would be empty; "
            "do not wrap an already compiled program in another module"
        )
    states = {name: _dump_parameter(name, parameter) for name, parameter in program.named_parameters()}
    return {**(states[BARE] if isinstance(program, dspy.Predict) else states), METADATA: _metadata()}


def apply(state: State, program: dspy.Module) -> None:
    """Put a verified `state` into `program`, which must be fresh: DSPy nests field definitions deeper at every load."""
    states = named_states(program, state)
    for name, parameter in program.named_parameters():
        parameter.load_state(states[name])


def retrieved_k(program: dspy.Module) -> int | None:
    """The k of the program's own dspy.Retrieve; None where it has none."""
    return next((item.k for _, item in program.named_parameters() if isinstance(item, dspy.Retrieve)), None)


def cut_demo(demo: dict[str, Any], signature: Any) -> dict[str, Any]:
    """`demo` with the fields of `signature` only, in their order; empty where it has no input or no output of it."""
    if not (demo.keys() & signature.input_fields.keys() and demo.keys() & signature.output_fields.keys()):
        return {}
    order = [AUGMENTED, *signature.fields]
    return {key: demo[key] for key in order if key in demo}


def _metadata() -> dict[str, Any]:
    return {"dependency_versions": get_dependency_versions()}


def _dump_parameter(name: str, parameter: Parameter) -> dict[str, Any]:
    if isinstance(parameter, dspy.Retrieve):
        return {"k": parameter.k}
    if not isinstance(parameter, dspy.Predict):
        raise ArtifactInvalid(f"'{name}' is a {type(parameter).__name__}, whose state an artifact cannot carry")
    bare = copy.copy(parameter)
    bare.lm, bare.traces, bare.train = None, [], []
    state: dict[str, Any] = bare.dump_state(json_mode=True)
    state["demos"] = [kept for demo in state["demos"] if (kept := cut_demo(demo, parameter.signature))]
    return state
