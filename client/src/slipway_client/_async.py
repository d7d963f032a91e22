# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio; its methods are those of SlipwayClient."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from slipway.rag.v1 import rag_pb2
from slipway.v1 import artifact_pb2
from slipway_client import _rpcs
from slipway_client._channel import DEFAULT_DEADLINE_SECONDS, channel_options, target_uri
from slipway_client._errors import Cancelled, DeadlineExceeded, Unavailable, from_rpc_error
from slipway_client._results import Artifact, FeedbackStored, Prediction, RagAnswer, Serving

Response = TypeVar("Response", bound=Message)


class AsyncSlipwayClient:
    """SlipwayClient for asyncio. Make it inside the event loop that uses it.

        async with AsyncSlipwayClient("answers-slipway-headless.search.svc:50051") as client:
            answers = await asyncio.gather(*(client.ask(question) for question in questions))

    Arguments and errors are SlipwayClient's. Cancelling the task cancels the call, also in the server.
    """

    def __init__(
        self,
        target: str,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._target = target_uri(target)
        self._deadline_seconds = _rpcs.deadline(deadline_seconds, deadline_seconds)
        settings = channel_options(options)
        self._channel = (
            grpc.aio.insecure_channel(self._target, options=settings)
            if credentials is None
            else grpc.aio.secure_channel(self._target, credentials, options=settings)
        )
        self._calls = {rpc: rpc.bind(self._channel) for rpc in _rpcs.RPCS}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r}, deadline_seconds={self._deadline_seconds:g})"

    async def __aenter__(self) -> AsyncSlipwayClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls under way fail with Cancelled."""
        await self._channel.close()

    async def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        routing_key: str = "",
        pin: str = "",
        request_id: str = "",
        bypass_cache: bool = False,
        deadline_seconds: float | None = None,
    ) -> Prediction:
        """Run the program on `inputs`; as SlipwayClient.predict."""
        request = _rpcs.predict_request(
            inputs, routing_key=routing_key, pin=pin, request_id=request_id, bypass_cache=bypass_cache
        )
        return _rpcs.prediction(await self._call(_rpcs.PREDICT, request, deadline_seconds))

    async def ask(
        self,
        question: str,
        *,
        routing_key: str = "",
        pin: str = "",
        request_id: str = "",
        bypass_cache: bool = False,
        deadline_seconds: float | None = None,
    ) -> RagAnswer:
        """Ask a program that answers questions; options as in `predict`. Raises Unsupported where it does not."""
        request = rag_pb2.AskRequest(
            question=question, routing_key=routing_key, pin=pin, request_id=request_id, bypass_cache=bypass_cache
        )
        return _rpcs.rag_answer(await self._call(_rpcs.ASK, request, deadline_seconds))

    async def serving(self, *, deadline_seconds: float | None = None) -> Serving:
        """What the server that answers serves now."""
        return _rpcs.serving(await self._call(_rpcs.GET_SERVING, artifact_pb2.GetServingRequest(), deadline_seconds))

    async def list_artifacts(
        self, *, page_size: int = 0, deadline_seconds: float | None = None
    ) -> AsyncIterator[Artifact]:
        """Every artifact that the server knows, newest first; pages of `page_size` (0: the server's default)."""
        request = artifact_pb2.ListArtifactsRequest(page_size=page_size)
        while True:
            page = await self._call(_rpcs.LIST_ARTIFACTS, request, deadline_seconds)
            for artifact in _rpcs.artifacts(page):
                yield artifact
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def submit_feedback(
        self,
        request_id: str,
        *,
        good: bool | None = None,
        correct_outputs: Mapping[str, Any] | None = None,
        comment: str = "",
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        artifact_digest: str = "",
        routing_key: str = "",
        feedback_id: str = "",
        deadline_seconds: float | None = None,
    ) -> FeedbackStored:
        """Say what the end user thought of an answer; as SlipwayClient.submit_feedback."""
        request = _rpcs.feedback_request(
            request_id=request_id,
            rating=good,
            correct_outputs=correct_outputs,
            comment=comment,
            inputs=inputs,
            outputs=outputs,
            artifact_digest=artifact_digest,
            routing_key=routing_key,
            feedback_id=feedback_id,
        )
        return _rpcs.feedback_stored(await self._call(_rpcs.SUBMIT_FEEDBACK, request, deadline_seconds))

    async def health(self, service: str = "", *, deadline_seconds: float | None = None) -> bool:
        """Whether a server says SERVING for `service`, by its full name; empty means the whole server.

        False also where no server can be reached or none answers in time. Raises NotFound for a service that the server
        does not have.
        """
        try:
            return _rpcs.is_serving(
                await self._call(_rpcs.CHECK_HEALTH, _rpcs.health_request(service), deadline_seconds)
            )
        except (Unavailable, DeadlineExceeded):
            # Calls are not even sent to a server that says NOT_SERVING.
            return False

    async def _call(self, rpc: _rpcs.Rpc[Response], request: Message, deadline_seconds: float | None) -> Response:
        request_id, metadata = _rpcs.identity(request)
        timeout = _rpcs.deadline(deadline_seconds, self._deadline_seconds)
        try:
            response: Response = await self._calls[rpc](request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as failure:
            raise from_rpc_error(failure, request_id) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                # gRPC ends calls of a closed channel as if their tasks had been cancelled.
                closed = "the client was closed"
                raise Cancelled(closed, code=grpc.StatusCode.CANCELLED, request_id=request_id) from None
            raise
        return response
