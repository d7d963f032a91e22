# SPDX-License-Identifier: Apache-2.0
"""A remembered answer arrives as the first one did, but for what its receipt says of the request itself."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from artifact_drafts import compiled, draft

from slipway.rag.v1 import rag_pb2
from slipway.v1 import prediction_pb2, receipt_pb2
from slipway_server.artifacts import save
from slipway_server.config import Settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.programs import rag
from slipway_server.runtime.service import open_service
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.server import Server
from slipway_server.telemetry import metrics

QUESTION = "In which year was Port Callow founded?"
RAG = "slipway_server.programs.rag:RAG"
ASK = "/slipway.rag.v1.RagService/Ask"
PREDICT = "/slipway.v1.PredictionService/Predict"
MESSAGE, METADATA = "message", "metadata"
ONES_OWN = ("request_id", "elapsed", "cache", "lm_calls", "attempts", "prompt_tokens", "completion_tokens", "waits")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return save(compiled(rag.RAG()), draft(RAG), tmp_path)


@pytest.fixture
async def channel(settings_with: Callable[..., Settings], artifact: Path) -> AsyncIterator[grpc.aio.Channel]:
    """To a server that remembers answers, with the same artifact as stable and as candidate."""
    settings = settings_with(
        program=RAG,
        artifact=artifact,
        candidate_artifact=artifact,
        cache_answers=True,
        grpc_port=0,
        metrics_port=0,
        drain_seconds=0,
    )
    service = await open_service(settings, OwnerLoop.of_running_loop())
    server = Server(service, ServingConfig.from_settings(settings))
    try:
        await server.start()
        await server.readiness.open()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as opened:
            yield opened
    finally:
        await server.stop(drain=False)
        await service.aclose()


async def called(channel: grpc.aio.Channel, path: str, request_id: str, *, by: str = MESSAGE, **fields: str) -> Any:
    """The response of a call, parsed here. `by`: what tells the id; only in metadata is the message the same again."""
    if by == MESSAGE:
        fields |= {"request_id": request_id}
    if path == ASK:
        request: Any = rag_pb2.AskRequest(question=QUESTION, **fields)
    else:
        request = prediction_pb2.PredictRequest(**fields)
        request.inputs.update({"question": QUESTION})
    metadata = (("x-request-id", request_id),) if by == METADATA else ()
    call = channel.unary_unary(path)(request.SerializeToString(), timeout=30, metadata=metadata)
    data = await call
    assert dict(await call.trailing_metadata())["x-request-id"] == request_id
    return {ASK: rag_pb2.AskResponse, PREDICT: prediction_pb2.PredictResponse}[path].FromString(data)


def without_its_own(response: Any, *more: str) -> Any:
    other = type(response)()
    other.CopyFrom(response)
    for name in (*ONES_OWN, *more):
        other.receipt.ClearField(name)
    return other


@pytest.mark.parametrize("by", [MESSAGE, METADATA])
@pytest.mark.parametrize("path", [ASK, PREDICT])
async def test_warm_answers_are_the_cold_one(
    channel: grpc.aio.Channel, path: str, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "slipway_server.serving.access")
    counter = metrics.CACHE_LOOKUPS.labels("answer", "memo")
    before = counter._value.get()
    cold = await called(channel, path, "cold", by=by)
    warm = [await called(channel, path, f"warm-{number}", by=by) for number in range(3)]
    assert cold.receipt.cache == receipt_pb2.CACHE_TIER_MISS
    assert len(cold.receipt.citations) == 3
    for number, response in enumerate(warm):
        receipt = response.receipt
        assert (receipt.cache, receipt.request_id) == (receipt_pb2.CACHE_TIER_MEMO, f"warm-{number}")
        assert (receipt.lm_calls, receipt.attempts, receipt.prompt_tokens, len(receipt.waits)) == (0, 0, 0, 0)
        assert receipt.elapsed.ToNanoseconds() > 0
        assert without_its_own(response) == without_its_own(cold)
    assert counter._value.get() == before + len(warm)
    events = [record.__dict__ for record in caplog.records if record.message == "rpc"]
    assert [event["request_id"] for event in events] == ["cold", "warm-0", "warm-1", "warm-2"]
    assert [event["cache"] for event in events] == [{"miss": 1}] + [{"memo": 1}] * 3
    assert {(event["artifact"], event["variant"]) for event in events} == {(cold.receipt.artifact, "stable")}


async def test_both_methods_share_an_answer_and_each_variant_signs_its_own(channel: grpc.aio.Channel) -> None:
    await called(channel, ASK, "cold")
    asked = [await called(channel, ASK, "a", by=METADATA, pin=pin) for pin in ("stable", "candidate", "stable")]
    predicted = [await called(channel, PREDICT, "p", pin=pin) for pin in ("candidate", "stable", "candidate")]
    assert [response.receipt.variant for response in asked] == ["stable", "candidate", "stable"]
    assert [response.receipt.variant for response in predicted] == ["candidate", "stable", "candidate"]
    assert {response.receipt.cache for response in asked + predicted} == {receipt_pb2.CACHE_TIER_MEMO}
    same = [without_its_own(response, "variant") for response in asked]
    assert same[0] == same[1] == same[2]
    assert {response.outputs.fields["answer"].string_value for response in predicted} == {asked[0].answer}
