# SPDX-License-Identifier: Apache-2.0
"""The client for threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from slipway.rag.v1 import rag_pb2
from slipway.v1 import artifact_pb2
from slipway_client import _rpcs
from slipway_client._channel import DEFAULT_DEADLINE_SECONDS, channel_options, target_uri
from slipway_client._errors import DeadlineExceeded, Unavailable, from_rpc_error
from slipway_client._results import Artifact, FeedbackStored, Prediction, RagAnswer, Serving

Response = TypeVar("Response", bound=Message)


class SlipwayClient:
    """Calls a program that Slipway serves. One client serves any number of threads.

        with SlipwayClient("answers-slipway-headless.search.svc:50051") as client:
            answer = client.ask("Who wrote it?", deadline_seconds=10)
            print(answer.answer, answer.receipt.artifact)

    Calls are spread over every address behind the name, avoid servers that are stopping, and are repeated where that is
    safe and the server has not said otherwise.

    Args:
        target: `host:port`, or a gRPC URI. In Kubernetes the name of a headless service.
        deadline_seconds: Limit of a call that names none of its own, repeats included.
        credentials: For TLS; None connects in plain text.
        options: gRPC channel options; they override the client's.

    Every method raises SlipwayClientError. `deadline_seconds` of a method overrides the client's.
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
            grpc.insecure_channel(self._target, options=settings)
            if credentials is None
            else grpc.secure_channel(self._target, credentials, options=settings)
        )
        self._calls = {rpc: rpc.bind(self._channel) for rpc in _rpcs.RPCS}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r}, deadline_seconds={self._deadline_seconds:g})"

    def __enter__(self) -> SlipwayClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls under way fail with Cancelled."""
        self._channel.close()

    def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        routing_key: str = "",
        pin: str = "",
        request_id: str = "",
        bypass_cache: bool = False,
        deadline_seconds: float | None = None,
    ) -> Prediction:
        """Run the program on `inputs`, JSON values by field.

        `routing_key`: the end user or session; the same key gets the same variant. `pin`: variant name or artifact
        digest that must serve the request. `request_id`: made where empty. `bypass_cache`: neither read nor write it.
        Raises TypeError or ValueError for an input that is no JSON value.
        """
        request = _rpcs.predict_request(
            inputs, routing_key=routing_key, pin=pin, request_id=request_id, bypass_cache=bypass_cache
        )
        return _rpcs.prediction(self._call(_rpcs.PREDICT, request, deadline_seconds))

    def ask(
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
        return _rpcs.rag_answer(self._call(_rpcs.ASK, request, deadline_seconds))

    def serving(self, *, deadline_seconds: float | None = None) -> Serving:
        """What the server that answers serves now."""
        return _rpcs.serving(self._call(_rpcs.GET_SERVING, artifact_pb2.GetServingRequest(), deadline_seconds))

    def list_artifacts(self, *, page_size: int = 0, deadline_seconds: float | None = None) -> Iterator[Artifact]:
        """Every artifact that the server knows, newest first; pages of `page_size` (0: the server's default)."""
        request = artifact_pb2.ListArtifactsRequest(page_size=page_size)
        while True:
            page = self._call(_rpcs.LIST_ARTIFACTS, request, deadline_seconds)
            yield from _rpcs.artifacts(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def submit_feedback(
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
        """Say what the end user thought of the answer whose receipt has `request_id`.

        `inputs` and `outputs`: of that answer, because another server may have given it. `feedback_id`: the same one
        twice is stored once; made where empty.
        """
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
        return _rpcs.feedback_stored(self._call(_rpcs.SUBMIT_FEEDBACK, request, deadline_seconds))

    def health(self, service: str = "", *, deadline_seconds: float | None = None) -> bool:
        """Whether a server says SERVING for `service`, by its full name; empty means the whole server.

        False also where no server can be reached or none answers in time. Raises NotFound for a service that the server
        does not have.
        """
        try:
            return _rpcs.is_serving(self._call(_rpcs.CHECK_HEALTH, _rpcs.health_request(service), deadline_seconds))
        except (Unavailable, DeadlineExceeded):
            # Calls are not even sent to a server that says NOT_SERVING.
            return False

    def _call(self, rpc: _rpcs.Rpc[Response], request: Message, deadline_seconds: float | None) -> Response:
        request_id, metadata = _rpcs.identity(request)
        timeout = _rpcs.deadline(deadline_seconds, self._deadline_seconds)
        try:
            response: Response = self._calls[rpc](request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as failure:
            raise from_rpc_error(failure, request_id) from None
        return response
