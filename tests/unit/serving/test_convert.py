# SPDX-License-Identifier: Apache-2.0
"""Plain values there and back, without loss."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.v1 import receipt_pb2
from slipway_server.errors import InputWrongType, ProgramFailed
from slipway_server.request import Citation
from slipway_server.runtime.types import Answer, Own, Receipt
from slipway_server.serving import convert

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def struct_of(outputs: dict[str, Any]) -> Struct:
    struct = Struct()
    convert.write_outputs(outputs, struct)
    return struct


@settings(max_examples=150)
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_json_values_survive_the_way_there_and_back(fields: dict[str, Any]) -> None:
    struct = struct_of(fields)
    assert convert.inputs_from_struct(struct) == fields
    assert json_format.MessageToDict(struct) == fields, "and mean the same to protobuf's own conversion"


def test_true_and_one_stay_different() -> None:
    struct = struct_of({"flag": True, "one": 1})
    assert convert.inputs_from_struct(struct)["flag"] is True
    assert isinstance(convert.inputs_from_struct(struct)["one"], float)


def test_integers_that_a_double_cannot_hold_travel_as_text() -> None:
    large = 2**53 + 1
    assert convert.inputs_from_struct(struct_of({"id": large, "ids": [-large]})) == {
        "id": str(large),
        "ids": [str(-large)],
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {"deep": [math.nan]}])
def test_outputs_that_json_does_not_have_fail_the_program(value: object) -> None:
    with pytest.raises(ProgramFailed, match="'score'"):
        struct_of({"score": value})


def test_inputs_name_the_field_with_the_wrong_number() -> None:
    struct = struct_of({"a": 1.0})
    struct.fields["a"].number_value = math.inf
    with pytest.raises(InputWrongType) as failure:
        convert.inputs_from_struct(struct)
    assert failure.value.metadata == {"field": "a"}


@given(st.floats(0, 1e7))
def test_durations_are_exact_to_the_nanosecond(seconds: float) -> None:
    assert convert.duration(seconds).ToNanoseconds() == round(seconds * 1e9)


def test_a_negative_duration_is_none_at_all() -> None:
    assert convert.duration(-0.1).ToNanoseconds() == 0


def test_every_cache_tier_of_the_contract_has_a_name() -> None:
    named = {receipt_pb2.CacheTier.Value(f"CACHE_TIER_{name.upper()}") for name in convert._TIERS}
    assert named == set(receipt_pb2.CacheTier.values()) - {receipt_pb2.CACHE_TIER_UNSPECIFIED}


def test_every_fact_of_a_receipt_is_written() -> None:
    facts = Receipt(
        request_id="id-1",
        program="package:Program",
        artifact="name",
        artifact_digest="d" * 64,
        variant="candidate",
        model="openai/m",
        cache="joined",
        lm_calls=2,
        attempts=3,
        waits_seconds={"retry": 0.25},
        prompt_tokens=5,
        completion_tokens=7,
        cost_usd=0.0,
        collection_version="docs-1",
        citations=(Citation("1", "Ships", 0.5), Citation("2", "", 0.0)),
        elapsed_seconds=1.5,
        server="pod-1",
    )
    message = receipt_pb2.Receipt()
    convert.write_common(facts, message)
    assert not {field.name for field, _ in message.ListFields()} & {*Own._fields, "elapsed"}
    convert.write_own(Answer({}, facts).own, message)
    assert {field.name for field, _ in message.ListFields()} == set(receipt_pb2.Receipt.DESCRIPTOR.fields_by_name)
    assert json_format.MessageToDict(message, preserving_proto_field_name=True) == {
        "request_id": "id-1",
        "program": "package:Program",
        "artifact": "name",
        "artifact_digest": "d" * 64,
        "variant": "candidate",
        "model": "openai/m",
        "cache": "CACHE_TIER_JOINED",
        "lm_calls": 2,
        "attempts": 3,
        "waits": [{"kind": "retry", "duration": "0.250s"}],
        "prompt_tokens": "5",
        "completion_tokens": "7",
        "cost_usd": 0.0,
        "collection_version": "docs-1",
        "citations": [{"passage_id": "1", "title": "Ships", "score": 0.5}, {"passage_id": "2"}],
        "elapsed": "1.500s",
        "server": "pod-1",
    }
