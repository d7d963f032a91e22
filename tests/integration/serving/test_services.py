# SPDX-License-Identifier: Apache-2.0
"""Each service of the contract over a real channel."""

from __future__ import annotations

import math
from dataclasses import replace

import grpc
import pytest
from fake_service import ARTIFACT, CREATED, FakeService
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from slipway.rag.v1 import rag_pb2, rag_pb2_grpc
from slipway.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
    receipt_pb2,
)
from slipway_server.runtime.types import Feedback


def struct(**fields: object) -> Struct:
    made = Struct()
    made.update(fields)
    return made


async def reason_of(call: grpc.aio.UnaryUnaryCall) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    status = await rpc_status.aio.from_call(call)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "slipway"
    return failure.value.code().name, info.reason


async def test_predict_translates_inputs_outputs_and_the_receipt(channel: grpc.aio.Channel) -> None:
    inputs = struct(text="ü", number=2, flag=True, none=None, items=[1, "two", {"deep": [False]}])
    response = await prediction_pb2_grpc.PredictionServiceStub(channel).Predict(
        prediction_pb2.PredictRequest(inputs=inputs, request_id="id-1")
    )
    assert response.outputs["text"] == "ü"
    assert response.outputs["number"] == 2
    assert response.outputs["none"] is None
    assert list(response.outputs["items"])[:2] == [1, "two"]
    receipt = response.receipt
    assert (receipt.request_id, receipt.artifact, receipt.variant) == ("id-1", ARTIFACT.name, "stable")
    assert receipt.cache == receipt_pb2.CACHE_TIER_MISS
    assert [(wait.kind, wait.duration.ToMilliseconds()) for wait in receipt.waits] == [("retry", 250)]
    assert not receipt.HasField("cost_usd")
    assert receipt.elapsed.ToMilliseconds() == 125


async def test_the_runtime_gets_plain_values_and_what_the_caller_asked_for(
    channel: grpc.aio.Channel, service: FakeService
) -> None:
    request = prediction_pb2.PredictRequest(
        inputs=struct(question="why?", k=3), routing_key="user-7", pin="candidate", bypass_cache=True
    )
    await prediction_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
    inputs, context, routing_key, pin = service.seen[-1]
    assert inputs == {"question": "why?", "k": 3.0}
    assert (routing_key, pin, context.use_cache) == ("user-7", "candidate", False)
    remaining = context.remaining_seconds()
    assert remaining is not None
    assert 15 < remaining < 20.2, "gRPC rounds a timeout on the wire up to tenths of a second"


async def test_metadata_pins_like_the_field_and_must_agree_with_it(
    channel: grpc.aio.Channel, service: FakeService
) -> None:
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    metadata = (("slipway-artifact", "candidate"),)
    await stub.Predict(prediction_pb2.PredictRequest(inputs=struct(question="x")), metadata=metadata)
    assert service.seen[-1][3] == "candidate"
    call = stub.Predict(prediction_pb2.PredictRequest(inputs=struct(question="x"), pin="stable"), metadata=metadata)
    assert await reason_of(call) == ("INVALID_ARGUMENT", "REQUEST_INVALID")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_numbers_that_json_does_not_have_are_refused(channel: grpc.aio.Channel, number: float) -> None:
    request = prediction_pb2.PredictRequest(inputs=struct(question=[{"deep": number}]))
    call = prediction_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    assert await reason_of(call) == ("INVALID_ARGUMENT", "INPUT_WRONG_TYPE")


async def test_a_megabyte_question_is_refused_in_both_services(channel: grpc.aio.Channel) -> None:
    question = "x" * 1_000_000
    predict = prediction_pb2_grpc.PredictionServiceStub(channel).Predict(
        prediction_pb2.PredictRequest(inputs=struct(question=question))
    )
    ask = rag_pb2_grpc.RagServiceStub(channel).Ask(rag_pb2.AskRequest(question=question))
    for call in (predict, ask):
        assert await reason_of(call) == ("INVALID_ARGUMENT", "INPUT_TOO_LARGE")


async def test_ask_answers_with_citations(channel: grpc.aio.Channel) -> None:
    response = await rag_pb2_grpc.RagServiceStub(channel).Ask(rag_pb2.AskRequest(question="why?"))
    assert (response.answer, response.reasoning) == ("echo why?", "it echoes")
    assert [(c.passage_id, c.title, c.score) for c in response.citations] == [("p1", "A title", 0.5)]
    assert response.receipt.artifact_digest == ARTIFACT.digest


async def test_ask_is_not_offered_for_other_programs(serve, service: FakeService) -> None:
    service.input_fields = ("text", "language")
    server = await serve(service)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = rag_pb2_grpc.RagServiceStub(channel).Ask(rag_pb2.AskRequest(question="why?"))
        assert await reason_of(call) == ("UNIMPLEMENTED", "METHOD_UNSUPPORTED")


async def test_feedback_is_unimplemented_where_nothing_is_recorded(channel: grpc.aio.Channel) -> None:
    stub = feedback_pb2_grpc.FeedbackServiceStub(channel)
    call = stub.SubmitFeedback(feedback_pb2.SubmitFeedbackRequest(feedback_id="f"))
    assert await reason_of(call) == ("UNIMPLEMENTED", "METHOD_UNSUPPORTED")


async def test_feedback_arrives_whole_and_once(channel: grpc.aio.Channel, service: FakeService) -> None:
    service.feedback = []
    stub = feedback_pb2_grpc.FeedbackServiceStub(channel)
    request = feedback_pb2.SubmitFeedbackRequest(
        request_id="r1",
        feedback_id="f1",
        rating=feedback_pb2.RATING_BAD,
        comment="wrong year",
        artifact_digest="a" * 64,
        routing_key="user-1",
    )
    request.inputs.update({"question": "when?"})
    request.outputs.update({"answer": "1901"})
    request.correct_outputs.update({"answer": "1899", "years": [1899.0]})
    assert not (await stub.SubmitFeedback(request)).duplicate
    assert (await stub.SubmitFeedback(request)).duplicate
    assert service.feedback == [
        Feedback(
            feedback_id="f1",
            request_id="r1",
            rating="bad",
            comment="wrong year",
            correct_outputs={"answer": "1899", "years": [1899.0]},
            inputs={"question": "when?"},
            outputs={"answer": "1901"},
            artifact_digest="a" * 64,
            routing_key="user-1",
        )
    ]


async def test_get_serving(channel: grpc.aio.Channel) -> None:
    response = await artifact_pb2_grpc.ArtifactServiceStub(channel).GetServing(artifact_pb2.GetServingRequest())
    assert response.program == "tests:Echo"
    assert list(response.input_fields) == ["question"]
    (variant,) = response.variants
    assert (variant.name, variant.weight_bps, variant.artifact.score) == ("stable", 10_000, 0.75)
    assert variant.serving_since.ToDatetime(CREATED.tzinfo) == CREATED


async def test_get_serving_says_what_was_refused(
    channel: grpc.aio.Channel, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = service.serving()
    refused = [replace(variant, refused_update="rag.json: is truncated") for variant in serving.variants]
    monkeypatch.setattr(service, "serving", lambda: replace(serving, variants=refused))
    response = await artifact_pb2_grpc.ArtifactServiceStub(channel).GetServing(artifact_pb2.GetServingRequest())
    assert [variant.refused_update for variant in response.variants] == ["rag.json: is truncated"]


async def test_artifacts_come_in_pages(channel: grpc.aio.Channel, service: FakeService) -> None:
    service.known = [replace(ARTIFACT, digest=f"{n:064}") for n in range(7)]
    stub, token, found = artifact_pb2_grpc.ArtifactServiceStub(channel), "", []
    for _ in range(3):
        page = await stub.ListArtifacts(artifact_pb2.ListArtifactsRequest(page_size=3, page_token=token))
        found += [artifact.digest for artifact in page.artifacts]
        token = page.next_page_token
    assert token == ""
    assert found == [info.digest for info in service.known]
    for request in (
        artifact_pb2.ListArtifactsRequest(page_size=-1),
        artifact_pb2.ListArtifactsRequest(page_token="not ours"),
    ):
        assert await reason_of(stub.ListArtifacts(request)) == ("INVALID_ARGUMENT", "REQUEST_INVALID")
