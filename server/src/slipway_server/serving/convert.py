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
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from slipway.v1 import artifact_pb2, feedback_pb2, receipt_pb2
from slipway_server.errors import InputWrongType, ProgramFailed
from slipway_server.request import Citation
from slipway_server.runtime.types import ArtifactInfo, Feedback, Own, Receipt, Serving, VariantInfo

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


def write_outputs(outputs: Mapping[str, Any], target: Struct) -> None:
    """JSON values into a Struct, which is there even with none. Raises ProgramFailed for what JSON has not (NaN)."""
    target.SetInParent()
    fields = target.fields
    for name, value in outputs.items():
        _write(value, fields[name], name)


def _write(value: Any, target: Value, field: str) -> None:
    """Write `value` into `target`; a message made apart would be copied into its parent."""
    if isinstance(value, str):
        target.string_value = value
    elif value is None:
        target.null_value = 0  # type: ignore[assignment]
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
        target.string_value = str(value)
    elif isinstance(value, int | float) and math.isfinite(value):
        target.number_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        fields = target.struct_value.fields
        for key, item in value.items():
            _write(item, fields[str(key)], field)
    elif isinstance(value, list | tuple):
        target.list_value.SetInParent()
        values = target.list_value.values
        for item in value:
            _write(item, values.add(), field)
    else:
        raise ProgramFailed(f"output field {field!r} has a value that JSON cannot hold", field=field)


def duration(seconds: float) -> Duration:
    """Seconds, to the nanosecond; never negative."""
    written = Duration()
    write_duration(seconds, written)
    return written


def write_duration(seconds: float, target: Duration) -> None:
    """The same, into a message's field."""
    target.seconds, target.nanos = divmod(max(0, round(seconds * 1e9)), 1_000_000_000)


def timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def write_own(own: Own, target: receipt_pb2.Receipt) -> None:
    """Write what a receipt says of its request alone."""
    target.request_id = own.request_id
    target.artifact = own.artifact
    target.variant = own.variant
    write_duration(own.elapsed_seconds, target.elapsed)


def write_common(facts: Receipt, target: receipt_pb2.Receipt) -> None:
    """Write the rest of `facts` into a receipt, which is empty: what is zero or absent there stays so."""
    target.program = facts.program
    target.artifact_digest = facts.artifact_digest
    target.model = facts.model
    target.cache = _TIERS.get(facts.cache, receipt_pb2.CACHE_TIER_UNSPECIFIED)
    target.lm_calls = facts.lm_calls
    target.attempts = facts.attempts
    for kind, seconds in facts.waits_seconds.items():
        write_duration(seconds, target.waits.add(kind=kind).duration)
    target.prompt_tokens = facts.prompt_tokens
    target.completion_tokens = facts.completion_tokens
    if facts.cost_usd is not None:
        target.cost_usd = facts.cost_usd
    target.collection_version = facts.collection_version
    write_citations(facts.citations, target.citations)
    target.server = facts.server


def write_citations(found: Sequence[Citation], target: RepeatedCompositeFieldContainer[receipt_pb2.Citation]) -> None:
    """Append `found` to a repeated field."""
    for cited in found:
        target.add(passage_id=cited.passage_id, title=cited.title, score=cited.score)


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
