# SPDX-License-Identifier: Apache-2.0
"""The contract's services. Each method translates, calls the runtime and translates back; nothing else happens here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import grpc

from slipway.rag.v1 import rag_pb2, rag_pb2_grpc
from slipway.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
)
from slipway_server import request as request_scope
from slipway_server.errors import MethodUnsupported, RequestInvalid
from slipway_server.runtime.types import Answer, Service, Serving
from slipway_server.serving import convert
from slipway_server.serving.pages import page
from slipway_server.serving.reading import too_large
from slipway_server.serving.repeats import Reply
from slipway_server.serving.responses import Responses

PREDICTION = prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
ARTIFACT = artifact_pb2.DESCRIPTOR.services_by_name["ArtifactService"].full_name
FEEDBACK = feedback_pb2.DESCRIPTOR.services_by_name["FeedbackService"].full_name
RAG = rag_pb2.DESCRIPTOR.services_by_name["RagService"].full_name

QUESTION, ANSWER, REASONING = "question", "answer", "reasoning"


def answers_questions(serving: Serving) -> bool:
    """The program fits the typed service: from a question alone to an answer."""
    return list(serving.input_fields) == [QUESTION] and ANSWER in serving.output_fields


def offered(service: Service) -> tuple[str, ...]:
    """Full names of the services that the program has a use for; the others answer UNIMPLEMENTED."""
    always = (PREDICTION, ARTIFACT, FEEDBACK)
    return (*always, RAG) if answers_questions(service.serving()) else always


def register(server: Any, service: Service, max_input_bytes: int) -> None:
    """Add every service of the contract to `server`, a grpc.aio.Server or what stands before it."""
    prediction_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(service, max_input_bytes), server)
    artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(Artifacts(service), server)
    feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(Feedback(service, max_input_bytes), server)
    rag_pb2_grpc.add_RagServiceServicer_to_server(Rag(service, max_input_bytes), server)


async def _predict(service: Service, inputs: Mapping[str, Any], message: Any) -> Answer:
    scope = request_scope.current()
    pin = message.pin
    if scope.pin and pin not in ("", scope.pin):
        raise RequestInvalid("the field pin and the request's metadata name different artifacts", field="pin")
    if message.bypass_cache:
        scope = replace(scope, use_cache=False)
    return await service.predict(inputs, scope, routing_key=message.routing_key, pin=pin or scope.pin)


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise too_large("input", size_bytes, limit_bytes)


class Prediction(prediction_pb2_grpc.PredictionServiceServicer):
    """Calls of whichever program is served."""

    def __init__(self, service: Service, max_input_bytes: int) -> None:
        self._service = service
        self._max_input_bytes = max_input_bytes
        self._responses = Responses(prediction_pb2.PredictResponse, self._write)

    async def Predict(self, request: prediction_pb2.PredictRequest, context: grpc.aio.ServicerContext) -> Reply:
        _check_size(request.inputs.ByteSize(), self._max_input_bytes)
        inputs = convert.inputs_from_struct(request.inputs)
        return self._responses.reply(await _predict(self._service, inputs, request))

    @staticmethod
    def _write(answer: Answer, response: prediction_pb2.PredictResponse) -> None:
        convert.write_outputs(answer.outputs, response.outputs)


class Rag(rag_pb2_grpc.RagServiceServicer):
    """Typed calls of a program that answers a question."""

    def __init__(self, service: Service, max_input_bytes: int) -> None:
        self._service = service
        self._max_input_bytes = max_input_bytes
        self._offered = answers_questions(service.serving())
        self._responses = Responses(rag_pb2.AskResponse, self._write)

    async def Ask(self, request: rag_pb2.AskRequest, context: grpc.aio.ServicerContext) -> Reply:
        if not self._offered:
            raise MethodUnsupported(
                f"the served program does not go from {QUESTION} to {ANSWER}; use PredictionService.Predict"
            )
        _check_size(len(request.question.encode()), self._max_input_bytes)
        return self._responses.reply(await _predict(self._service, {QUESTION: request.question}, request))

    @staticmethod
    def _write(answer: Answer, response: rag_pb2.AskResponse) -> None:
        response.answer = str(answer.outputs.get(ANSWER, ""))
        response.reasoning = str(answer.outputs.get(REASONING) or "")
        convert.write_citations(answer.receipt.citations, response.citations)


class Artifacts(artifact_pb2_grpc.ArtifactServiceServicer):
    """What is served, and what could be."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def GetServing(
        self, request: artifact_pb2.GetServingRequest, context: grpc.aio.ServicerContext
    ) -> artifact_pb2.GetServingResponse:
        return convert.serving(self._service.serving())

    async def ListArtifacts(
        self, request: artifact_pb2.ListArtifactsRequest, context: grpc.aio.ServicerContext
    ) -> artifact_pb2.ListArtifactsResponse:
        shown, token = page(
            await self._service.artifacts(), request.page_size, request.page_token, key=lambda info: info.digest
        )
        return artifact_pb2.ListArtifactsResponse(
            artifacts=[convert.artifact(info) for info in shown], next_page_token=token
        )


class Feedback(feedback_pb2_grpc.FeedbackServiceServicer):
    """What end users thought of answers."""

    def __init__(self, service: Service, max_input_bytes: int) -> None:
        self._service = service
        self._max_input_bytes = max_input_bytes

    async def SubmitFeedback(
        self, request: feedback_pb2.SubmitFeedbackRequest, context: grpc.aio.ServicerContext
    ) -> feedback_pb2.SubmitFeedbackResponse:
        _check_size(request.ByteSize(), 2 * self._max_input_bytes)
        duplicate = await self._service.submit_feedback(convert.feedback(request))
        return feedback_pb2.SubmitFeedbackResponse(duplicate=duplicate)
