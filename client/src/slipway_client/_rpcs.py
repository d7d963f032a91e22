# SPDX-License-Identifier: Apache-2.0
"""Every RPC once: its path, how a request is built and what becomes of the response. Both clients share this."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from slipway.rag.v1 import rag_pb2
from slipway.v1 import artifact_pb2, feedback_pb2, prediction_pb2, receipt_pb2
from slipway_client._errors import REQUEST_ID_KEY
from slipway_client._results import (
    Artifact,
    Citation,
    FeedbackStored,
    Prediction,
    RagAnswer,
    Receipt,
    Serving,
    Variant,
)

MAX_EXACT_INTEGER = 2**53
_SERVING_STATUS = 1

Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Response]):
    """One unary method: its full path and the class of its response."""

    path: str
    response: type[Response]

    def bind(self, channel: Any) -> Any:
        """The callable of a sync or async channel."""
        return channel.unary_unary(
            self.path, request_serializer=_serialized, response_deserializer=self.response.FromString
        )


PREDICT = Rpc("/slipway.v1.PredictionService/Predict", prediction_pb2.PredictResponse)
ASK = Rpc("/slipway.rag.v1.RagService/Ask", rag_pb2.AskResponse)
GET_SERVING = Rpc("/slipway.v1.ArtifactService/GetServing", artifact_pb2.GetServingResponse)
LIST_ARTIFACTS = Rpc("/slipway.v1.ArtifactService/ListArtifacts", artifact_pb2.ListArtifactsResponse)
SUBMIT_FEEDBACK = Rpc("/slipway.v1.FeedbackService/SubmitFeedback", feedback_pb2.SubmitFeedbackResponse)
# grpc.health.v1's messages have one field each, a string and an enum: the wrappers' wire format.
CHECK_HEALTH = Rpc("/grpc.health.v1.Health/Check", Int32Value)

RPCS: tuple[Rpc[Any], ...] = (PREDICT, ASK, GET_SERVING, LIST_ARTIFACTS, SUBMIT_FEEDBACK, CHECK_HEALTH)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def deadline(seconds: float | None, default: float) -> float:
    """The timeout of a call. There is always one: raises ValueError where it is not a positive, finite number."""
    chosen = default if seconds is None else seconds
    if not (math.isfinite(chosen) and chosen > 0):
        raise ValueError(f"deadline_seconds must be a positive number, not {chosen}")
    return chosen


def identity(request: Message) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The id that the server's log will have this call under, and the metadata that says so; one for all attempts."""
    own = getattr(request, "request_id", "")
    if own:
        return own, ()
    made = uuid.uuid4().hex
    return made, ((REQUEST_ID_KEY, made),)


# ---- requests


def predict_request(inputs: Mapping[str, Any], **fields: Any) -> prediction_pb2.PredictRequest:
    return prediction_pb2.PredictRequest(inputs=_struct(inputs), **fields)


def feedback_request(
    *,
    rating: bool | None,
    correct_outputs: Mapping[str, Any] | None,
    inputs: Mapping[str, Any] | None,
    outputs: Mapping[str, Any] | None,
    feedback_id: str,
    **fields: str,
) -> feedback_pb2.SubmitFeedbackRequest:
    ratings = {None: feedback_pb2.RATING_UNSPECIFIED, True: feedback_pb2.RATING_GOOD, False: feedback_pb2.RATING_BAD}
    return feedback_pb2.SubmitFeedbackRequest(
        rating=ratings[rating],
        correct_outputs=None if correct_outputs is None else _struct(correct_outputs),
        inputs=None if inputs is None else _struct(inputs),
        outputs=None if outputs is None else _struct(outputs),
        feedback_id=feedback_id or uuid.uuid4().hex,
        **fields,
    )


def health_request(service: str) -> StringValue:
    return StringValue(value=service)


def _struct(fields: Mapping[str, Any]) -> Struct:
    return Struct(fields={name: _value(value, name) for name, value in fields.items()})


def _value(value: Any, field: str) -> Value:
    if value is None:
        return Value(null_value=0)  # type: ignore[arg-type]
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, str):
        return Value(string_value=value)
    if isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
        raise ValueError(f"field {field!r}: {value} is too large to travel exactly as a number; send it as text")
    if isinstance(value, int | float):
        return Value(number_value=value)
    if isinstance(value, Mapping):
        return Value(struct_value=Struct(fields={str(key): _value(item, field) for key, item in value.items()}))
    if isinstance(value, list | tuple):
        return Value(list_value=ListValue(values=[_value(item, field) for item in value]))
    raise TypeError(f"field {field!r}: a {type(value).__name__} is no JSON value")


# ---- results


def prediction(response: prediction_pb2.PredictResponse) -> Prediction:
    outputs = {name: _plain(value) for name, value in response.outputs.fields.items()}
    return Prediction(outputs, _receipt(response.receipt))


def rag_answer(response: rag_pb2.AskResponse) -> RagAnswer:
    return RagAnswer(response.answer, response.reasoning, _citations(response.citations), _receipt(response.receipt))


def serving(response: artifact_pb2.GetServingResponse) -> Serving:
    return Serving(
        program=response.program,
        fingerprint=response.fingerprint,
        variants=tuple(_variant(variant) for variant in response.variants),
        collection_version=response.collection_version,
        input_fields=tuple(response.input_fields),
        output_fields=tuple(response.output_fields),
    )


def artifacts(response: artifact_pb2.ListArtifactsResponse) -> list[Artifact]:
    return [_artifact(artifact) for artifact in response.artifacts]


def feedback_stored(response: feedback_pb2.SubmitFeedbackResponse) -> FeedbackStored:
    return FeedbackStored(response.duplicate)


def is_serving(response: Int32Value) -> bool:
    return response.value == _SERVING_STATUS


def _plain(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            # The contract knows doubles only. A whole one may be an int, which works where a float does.
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= MAX_EXACT_INTEGER else number
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "struct_value":
            return {key: _plain(item) for key, item in value.struct_value.fields.items()}
    return None


def _receipt(message: receipt_pb2.Receipt) -> Receipt:
    return Receipt(
        request_id=message.request_id,
        program=message.program,
        artifact=message.artifact,
        artifact_digest=message.artifact_digest,
        variant=message.variant,
        model=message.model,
        cache=_cache_tier(message.cache),
        lm_calls=message.lm_calls,
        attempts=message.attempts,
        waits_seconds={wait.kind: wait.duration.ToNanoseconds() / 1e9 for wait in message.waits},
        prompt_tokens=message.prompt_tokens,
        completion_tokens=message.completion_tokens,
        cost_usd=message.cost_usd if message.HasField("cost_usd") else None,
        collection_version=message.collection_version,
        citations=_citations(message.citations),
        elapsed_seconds=message.elapsed.ToNanoseconds() / 1e9,
        server=message.server,
    )


def _cache_tier(number: int) -> str:
    """Empty also for a tier that only a newer server knows: no answer is lost for that."""
    tier = receipt_pb2.CacheTier.DESCRIPTOR.values_by_number.get(number)
    return tier.name.removeprefix("CACHE_TIER_").lower() if number and tier is not None else ""


def _citations(messages: Any) -> tuple[Citation, ...]:
    return tuple(Citation(message.passage_id, message.title, message.score) for message in messages)


def _variant(message: artifact_pb2.Variant) -> Variant:
    return Variant(
        name=message.name,
        artifact=_artifact(message.artifact),
        weight_bps=message.weight_bps,
        serving_since=_moment(message.serving_since) if message.HasField("serving_since") else None,
        refused_update=message.refused_update,
    )


def _artifact(message: artifact_pb2.Artifact) -> Artifact:
    return Artifact(
        name=message.name,
        digest=message.digest,
        program=message.program,
        metric=message.metric,
        score=message.score if message.HasField("score") else None,
        created=_moment(message.create_time) if message.HasField("create_time") else None,
        current=message.current,
    )


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)
