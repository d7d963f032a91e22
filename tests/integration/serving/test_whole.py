# SPDX-License-Identifier: Apache-2.0
"""The whole server over a channel: gRPC, runtime, governor, and a provider that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import slipway_client
from slipway_client import AsyncSlipwayClient
from slipway_server.config import Settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.retrieval.corpus import Document
from slipway_server.retrieval.ingest import run
from slipway_server.runtime.service import open_service
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.server import Server
from slipway_server.simulate import Provider, SimulatorConfig

QUESTION = "In which year was Port Callow founded?"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider(SimulatorConfig()) as running:
        yield running


@pytest.fixture
def whole(settings_with: Callable[..., Settings], provider: Provider) -> Callable[..., Any]:
    """`async with whole(key=value) as client`: a server with the reference program, and a client of it."""

    @asynccontextmanager
    async def opened(**overrides: Any) -> AsyncIterator[AsyncSlipwayClient]:
        lm = {"lm_model": "openai/test", "lm_base_url": provider.base_url, "lm_api_key": "k", "lm_max_attempts": 2}
        ports = {"grpc_port": 0, "metrics_port": 0, "drain_seconds": 0}
        settings = settings_with(**{**lm, **ports, "cache": "memory", **overrides})
        service = await open_service(settings, OwnerLoop.of_running_loop())
        server = Server(service, ServingConfig.from_settings(settings))
        try:
            await server.start()
            await server.readiness.open()
            async with AsyncSlipwayClient(f"127.0.0.1:{server.grpc_port}", deadline_seconds=20) as client:
                yield client
        finally:
            await server.stop(drain=False)
            await service.aclose()

    return opened


async def test_a_question_is_answered_with_citations_and_a_receipt(whole: Any) -> None:
    async with whole(lm_prices="1:2") as client:
        answer = await client.ask(QUESTION, request_id="id-1")
        again = await client.predict({"question": QUESTION})
    receipt = answer.receipt
    assert answer.answer
    assert len(answer.citations) == 3
    assert (receipt.request_id, receipt.variant, receipt.cache) == ("id-1", "stable", "miss")
    assert (receipt.lm_calls, receipt.attempts, receipt.model) == (1, 1, "openai/test")
    assert receipt.cost_usd
    assert receipt.collection_version.startswith("isles-")
    assert again.outputs["answer"] == answer.answer
    assert (again.receipt.cache, again.receipt.lm_calls) == ("memory", 0)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"question": QUESTION, "k": 3}, "INPUT_UNKNOWN_FIELD"),
        ({}, "INPUT_MISSING_FIELD"),
        ({"question": 3}, "INPUT_WRONG_TYPE"),
        ({"question": [QUESTION]}, "INPUT_WRONG_TYPE"),
        ({"question": " \n"}, "INPUT_EMPTY"),
        ({"question": "x" * 1_000_000}, "INPUT_TOO_LARGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bad_input_is_the_callers_mistake(
    whole: Any, provider: Provider, inputs: dict[str, Any], reason: str
) -> None:
    async with whole() as client:
        with pytest.raises(slipway_client.InvalidRequest) as failure:
            await client.predict(inputs)
        assert failure.value.reason == reason
        if isinstance(inputs.get("question"), str):
            with pytest.raises(slipway_client.InvalidRequest) as failure:
                await client.ask(inputs["question"] if "k" not in inputs else "")
    assert not provider.ledger.entries


@pytest.mark.parametrize(
    ("behaviour", "error", "reason", "attempts"),
    [
        ({"fault": "auth"}, slipway_client.FailedPrecondition, "PROVIDER_AUTH", 1),
        ({"fault": "model"}, slipway_client.FailedPrecondition, "PROVIDER_MODEL_UNKNOWN", 1),
        ({"fault": "billing"}, slipway_client.FailedPrecondition, "PROVIDER_BILLING", 1),
        ({"fault": "context-length"}, slipway_client.InvalidRequest, "CONTEXT_TOO_LONG", 1),
        ({"fault": "unavailable"}, slipway_client.Unavailable, "PROVIDER_UNAVAILABLE", 2),
        ({"answer": "text", "text": "no fields"}, slipway_client.Internal, "ANSWER_UNPARSEABLE", 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_providers_trouble_has_a_name_and_is_not_multiplied(
    whole: Any,
    provider: Provider,
    behaviour: dict[str, Any],
    error: type[slipway_client.SlipwayClientError],
    reason: str,
    attempts: int,
) -> None:
    """A server that has spent its attempts tells the client not to add its own."""
    provider.configure(**behaviour)
    async with whole() as client:
        with pytest.raises(error) as failure:
            await client.ask(QUESTION)
    assert failure.value.reason == reason
    assert len(provider.ledger.entries) == attempts


async def test_a_limit_that_outlasts_the_deadline_says_when_to_come_back(whole: Any, provider: Provider) -> None:
    provider.configure(fault="rate-limit", retry_after_seconds=50)
    async with whole() as client:
        with pytest.raises(slipway_client.Overloaded) as failure:
            await client.ask(QUESTION, deadline_seconds=10)
    assert failure.value.reason == "PROVIDER_RATE_LIMITED"
    assert failure.value.retry_after == pytest.approx(50, abs=5)
    assert len(provider.ledger.entries) == 1


async def test_the_provider_away_is_unavailable(whole: Any) -> None:
    async with whole(lm_base_url="http://127.0.0.1:1/v1") as client:
        with pytest.raises(slipway_client.Unavailable) as failure:
            await client.ask(QUESTION)
    assert failure.value.reason == "PROVIDER_UNAVAILABLE"


@pytest.mark.parametrize(
    ("overrides", "error", "reason"),
    [
        ({"collection": "nowhere"}, slipway_client.FailedPrecondition, "COLLECTION_MISSING"),
        ({"embedding_model": "offline/hashing"}, slipway_client.FailedPrecondition, "COLLECTION_MISMATCH"),
        (
            {"qdrant_url": "http://127.0.0.1", "qdrant_grpc_port": 1},
            slipway_client.Unavailable,
            "RETRIEVAL_UNAVAILABLE",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_trouble_with_the_collection_has_a_name(
    whole: Any, overrides: dict[str, Any], error: type[slipway_client.SlipwayClientError], reason: str
) -> None:
    async with whole(**overrides) as client:
        with pytest.raises(error) as failure:
            await client.ask(QUESTION)
    assert failure.value.reason == reason
    assert "\n" not in str(failure.value)


async def test_an_embedder_that_went_away_is_unavailable(
    whole: Any, provider: Provider, settings_with: Callable[..., Settings], tmp_path: Path
) -> None:
    embedder = {"embedding_model": "openai/m", "embedding_dimension": 64, "data_dir": tmp_path, "collection": "docs"}
    documents = [Document("1", "Port Callow", "Port Callow was founded in 1794. " * 5)]
    await run(settings_with(**embedder, embedding_base_url=provider.base_url, embedding_api_key="k"), documents)
    async with whole(**embedder, embedding_base_url="http://127.0.0.1:1/v1") as client:
        with pytest.raises(slipway_client.Unavailable) as failure:
            await client.ask(QUESTION)
    assert failure.value.reason == "EMBEDDER_UNAVAILABLE"
    async with whole(**embedder, embedding_base_url=provider.base_url, embedding_api_key="k") as client:
        assert [citation.title for citation in (await client.ask(QUESTION)).citations] == ["Port Callow"]


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_caller_that_goes_away_stops_the_upstream_request(whole: Any, provider: Provider, how: str) -> None:
    provider.configure(fault="hang")
    async with whole() as client:
        call = asyncio.create_task(client.ask(QUESTION, deadline_seconds=3 if how == "deadline" else 60))
        async with asyncio.timeout(60):
            while not provider.in_flight:
                await asyncio.sleep(0.01)
            if how == "cancel":
                call.cancel()
            with pytest.raises(asyncio.CancelledError if how == "cancel" else slipway_client.DeadlineExceeded):
                await call
            while provider.in_flight:
                await asyncio.sleep(0.01)
