# SPDX-License-Identifier: Apache-2.0
"""Between the contract's messages and the runtime's plain values.

`google.protobuf.Struct` is walked by hand: json_format takes several times as long, and this runs for every request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from slipway.v1 import artifact_pb2, feedback_pb2, receipt_pb2
from slipway_server.errors import InputWrongType, ProgramFailed
from slipway_server.request import Citation
from slipway_server.runtime.types import ArtifactInfo, Feedback, Receipt, Serving, VariantInfo

MAX_EXACT_INTEGER = 2**53
"""Beyond it a double does not hold every integer: such outputs travel as decimal strings, as int64 in ProtoJSON."""

_TIERS = {
    "miss": receipt_pb2.CACHE_TIER_MISS,
    "memory": receipt_pb2.CACHE_TIER_MEMORY,
    "disk": receipt_pb2.CACHE_TIER_DISK,
    "joined": receipt_pb2.CACHE_TIER_JOINED,
    "memo": receipt_pb2.CACHE_TIER_MEMO,
    "bypass": receipt_pb2.CACHE_TIER_BYPASS,
}


_RATINGS = {feedback_pb2.RATING_GOOD: "good", feedback_pb2.RATING_BAD: "bad"}


def inputs_from_struct(struct: Struct) -> dict[str, Any]:
    """The fields as JSON values; every number is a float. Raises InputWrongType for NaN and infinities."""
    return {name: _from_value(value, name) for name, value in struct.fields.items()}


def _from_value(value: Value, field: str) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            if not math.isfinite(value.number_value):
                raise InputWrongType(f"field {field!r} has a number that is not finite", field=field)
            return value.number_value
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_from_value(item, field) for item in value.list_value.values]
        case "struct_value":
            return {key: _from_value(item, field) for key, item in value.struct_value.fields.items()}
    return None


def outputs_to_struct(outputs: Mapping[str, Any]) -> Struct:
    """JSON values as a Struct. Raises ProgramFailed for what JSON does not have, such as NaN."""
    return Struct(fields={name: _to_value(value, name) for name, value in outputs.items()})


def _to_value(value: Any, field: str) -> Value:
    if isinstance(value, str):
        return Value(string_value=value)
    if value is None:
        return Value(null_value=0)  # type: ignore[arg-type]
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
        return Value(string_value=str(value))
    if isinstance(value, int | float) and math.isfinite(value):
        return Value(number_value=value)
    if isinstance(value, Mapping):
        return Value(struct_value=Struct(fields={str(key): _to_value(item, field) for key, item in value.items()}))
    if isinstance(value, list | tuple):
        return Value(list_value=ListValue(values=[_to_value(item, field) for item in value]))
    raise ProgramFailed(f"output field {field!r} has a value that JSON cannot hold", field=field)


def duration(seconds: float) -> Duration:
    """Seconds, to the nanosecond; never negative."""
    nanos = max(0, round(seconds * 1e9))
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def citations(found: Sequence[Citation]) -> list[receipt_pb2.Citation]:
    return [receipt_pb2.Citation(passage_id=c.passage_id, title=c.title, score=c.score) for c in found]


def receipt(facts: Receipt) -> receipt_pb2.Receipt:
    return receipt_pb2.Receipt(
        request_id=facts.request_id,
        program=facts.program,
        artifact=facts.artifact,
        artifact_digest=facts.artifact_digest,
        variant=facts.variant,
        model=facts.model,
        cache=_TIERS.get(facts.cache, receipt_pb2.CACHE_TIER_UNSPECIFIED),
        lm_calls=facts.lm_calls,
        attempts=facts.attempts,
        waits=[
            receipt_pb2.Wait(kind=kind, duration=duration(seconds)) for kind, seconds in facts.waits_seconds.items()
        ],
        prompt_tokens=facts.prompt_tokens,
        completion_tokens=facts.completion_tokens,
        cost_usd=facts.cost_usd,
        collection_version=facts.collection_version,
        citations=citations(facts.citations),
        elapsed=duration(facts.elapsed_seconds),
        server=facts.server,
    )


def feedback(request: feedback_pb2.SubmitFeedbackRequest) -> Feedback:
    """Raises InputWrongType for numbers that are not finite."""
    return Feedback(
        feedback_id=request.feedback_id,
        request_id=request.request_id,
        rating=_RATINGS.get(request.rating, ""),
        comment=request.comment,
        correct_outputs=inputs_from_struct(request.correct_outputs),
        inputs=inputs_from_struct(request.inputs),
        outputs=inputs_from_struct(request.outputs),
        artifact_digest=request.artifact_digest,
        routing_key=request.routing_key,
    )


def artifact(info: ArtifactInfo) -> artifact_pb2.Artifact:
    return artifact_pb2.Artifact(
        name=info.name,
        digest=info.digest,
        program=info.program,
        metric=info.metric,
        score=info.score,
        create_time=timestamp(info.created),
        current=info.current,
    )


def variant(info: VariantInfo) -> artifact_pb2.Variant:
    return artifact_pb2.Variant(
        name=info.name,
        artifact=artifact(info.artifact),
        weight_bps=info.weight_bps,
        serving_since=timestamp(info.serving_since),
        refused_update=info.refused_update,
    )


def serving(facts: Serving) -> artifact_pb2.GetServingResponse:
    return artifact_pb2.GetServingResponse(
        program=facts.program,
        fingerprint=facts.fingerprint,
        variants=[variant(info) for info in facts.variants],
        collection_version=facts.collection_version,
        input_fields=facts.input_fields,
        output_fields=facts.output_fields,
    )
