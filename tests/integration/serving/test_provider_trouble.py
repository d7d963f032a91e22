# SPDX-License-Identifier: Apache-2.0
"""What a provider does wrong, as a bare stub sees it: governor, runtime and server over real HTTP and a real channel.

No retry policy in the channel: each RPC is one attempt, so that codes, details and trailers are the server's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from slipway.v1 import prediction_pb2, prediction_pb2_grpc
from slipway_server.config import Settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.runtime.service import open_service
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.server import Server
from slipway_server.simulate import Provider, SimulatorConfig

NEVER = "-1"


@dataclass
class Deployment:
    """A server whose program is one LM call, and its provider."""

    channel: grpc.aio.Channel
    provider: Provider

    async def ask(self, question: str = "Who?", timeout: float | None = None) -> prediction_pb2.PredictResponse:
        inputs = Struct()
        inputs.update({"question": question})
        stub = prediction_pb2_grpc.PredictionServiceStub(self.channel)
        return await stub.Predict(prediction_pb2.PredictRequest(inputs=inputs), timeout=timeout)

    async def refused(self, question: str = "Who?", timeout: float | None = None) -> Refusal:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await self.ask(question, timeout)
        return Refusal(failure.value)

    async def requests_seen(self, expected: int) -> int:
        """Requests in the ledger, which writes an aborted one down a moment after its end."""
        for _ in range(200):
            if len(self.provider.ledger.entries) >= expected:
                break
            await asyncio.sleep(0.01)
        return len(self.provider.ledger.entries)


class Refusal:
    """A failed RPC as the wire has it."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        trailers = dict(error.trailing_metadata())
        rich = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        self.code = error.code().name
        self.pushback = trailers.get("grpc-retry-pushback-ms")
        self.details = {
            kind: getattr(error_details_pb2, kind).FromString(packed.value)
            for packed in rich.details
            for kind in [packed.type_url.rpartition(".")[2]]
        }
        self.reason = self.details["ErrorInfo"].reason

    @property
    def retry_seconds(self) -> float:
        return self.details["RetryInfo"].retry_delay.ToMilliseconds() / 1000


@pytest.fixture
def deployed(settings_with: Callable[..., Settings]) -> Callable[..., Any]:
    """`async with deployed(lm_rpm=60) as deployment`."""

    @asynccontextmanager
    async def opened(**overrides: Any) -> AsyncIterator[Deployment]:
        async with Provider(SimulatorConfig()) as provider:
            values = {
                "program": "programs:Plain",
                "lm_model": "openai/test",
                "lm_base_url": provider.base_url,
                "lm_api_key": "k",
                "lm_max_attempts": 2,
                "lm_attempt_timeout_seconds": 0.5,
                "grpc_port": 0,
                "metrics_port": 0,
                "drain_seconds": 0,
                "cache": "off",
            }
            settings = settings_with(**{**values, **overrides})
            service = await open_service(settings, OwnerLoop.of_running_loop())
            server = Server(service, ServingConfig.from_settings(settings))
            try:
                await server.start()
                await server.readiness.open()
                target = f"127.0.0.1:{server.grpc_port}"
                async with grpc.aio.insecure_channel(target, options=[("grpc.enable_retries", 0)]) as channel:
                    yield Deployment(channel, provider)
            finally:
                await server.stop(drain=False)
                await service.aclose()

    return opened


@pytest.mark.parametrize(
    ("fault", "code", "reason", "attempts"),
    [
        ("billing", "FAILED_PRECONDITION", "PROVIDER_BILLING", 1),
        ("auth", "FAILED_PRECONDITION", "PROVIDER_AUTH", 1),
        ("model", "FAILED_PRECONDITION", "PROVIDER_MODEL_UNKNOWN", 1),
        ("invalid", "FAILED_PRECONDITION", "PROVIDER_REJECTED", 1),
        ("context-length", "INVALID_ARGUMENT", "CONTEXT_TOO_LONG", 1),
        ("timeout", "UNAVAILABLE", "PROVIDER_UNAVAILABLE", 2),
        ("server-error", "UNAVAILABLE", "PROVIDER_UNAVAILABLE", 2),
        ("unavailable", "UNAVAILABLE", "PROVIDER_UNAVAILABLE", 2),
        ("overloaded", "UNAVAILABLE", "PROVIDER_UNAVAILABLE", 2),
        ("html", "UNAVAILABLE", "PROVIDER_UNAVAILABLE", 2),
        ("garbage", "UNAVAILABLE", "PROVIDER_UNAVAILABLE", 1),
        ("reset", "UNAVAILABLE", "PROVIDER_UNAVAILABLE", 2),
        ("hang", "UNAVAILABLE", "PROVIDER_UNAVAILABLE", 2),
        ("cut", "UNAVAILABLE", "PROVIDER_UNAVAILABLE", 2),
    ],
)
async def test_a_fault_that_waiting_does_not_cure(
    deployed: Any, fault: str, code: str, reason: str, attempts: int
) -> None:
    async with deployed() as deployment:
        deployment.provider.configure(fault=fault)
        refusal = await deployment.refused()
        assert (refusal.code, refusal.reason, refusal.pushback) == (code, reason, NEVER)
        assert "RetryInfo" not in refusal.details
        assert await deployment.requests_seen(attempts) == attempts


async def test_nothing_listens(deployed: Any) -> None:
    async with deployed(lm_base_url="http://127.0.0.1:1/v1") as deployment:
        refusal = await deployment.refused()
    assert (refusal.code, refusal.reason, refusal.pushback) == ("UNAVAILABLE", "PROVIDER_UNAVAILABLE", NEVER)


@pytest.mark.parametrize("form", ["right", "decimal", "ms", "date", "missing"])
async def test_a_429_is_absorbed_and_the_receipt_says_so(deployed: Any, form: str) -> None:
    async with deployed(lm_pacing="off", lm_max_attempts=5) as deployment:
        deployment.provider.configure(rpm=600, burst_seconds=0.1, retry_after=form)
        before, receipt = 0, (await deployment.ask()).receipt
        while not receipt.waits and before < 50:  # a busy machine asks more slowly than the quota refills
            before, receipt = len(deployment.provider.ledger.entries), (await deployment.ask()).receipt
        assert receipt.lm_calls == 1
        assert receipt.attempts == len(deployment.provider.ledger.entries) - before >= 2
        (wait,) = receipt.waits
        assert wait.kind == "retry"
        assert wait.duration.ToMilliseconds() >= {"right": 1000, "decimal": 50, "ms": 50}.get(form, 0)


@pytest.mark.parametrize(
    ("form", "seconds"),
    [("right", 100), ("decimal", 100), ("ms", 100), ("date", 100), ("late", 130), ("absurd", 3600)],
)
async def test_a_429_that_asks_for_too_much_is_passed_on(deployed: Any, form: str, seconds: float) -> None:
    async with deployed() as deployment:
        deployment.provider.configure(fault="rate-limit", retry_after=form, retry_after_seconds=100)
        refusal = await deployment.refused()
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "PROVIDER_RATE_LIMITED")
        assert refusal.retry_seconds == pytest.approx(seconds, abs=2)
        assert int(refusal.pushback or 0) == pytest.approx(1000 * seconds, abs=2000)
        assert [violation.subject for violation in refusal.details["QuotaFailure"].violations] == ["lm_requests"]
        assert (await deployment.refused(timeout=20)).pushback == NEVER, "no retry fits into the caller's deadline"
        assert len(deployment.provider.ledger.entries) == 2


async def test_a_wait_that_cannot_fit_is_refused_at_once_and_health_never(deployed: Any) -> None:
    async with deployed(lm_pacing="share", lm_rpm=60, lm_queue_cap_seconds=1.5) as deployment:
        loop = asyncio.get_running_loop()
        started = loop.time()
        took: dict[str, float] = {}

        async def ask(question: str) -> Any:
            try:
                return await deployment.ask(question)
            except grpc.aio.AioRpcError as error:
                took[question] = loop.time() - started
                return Refusal(error)

        calls = [asyncio.create_task(ask(f"Who is {number}?")) for number in range(6)]
        while len(took) < 4:
            await asyncio.sleep(0.01)
        health = await health_pb2_grpc.HealthStub(deployment.channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        answers = await asyncio.gather(*calls)
        refusals = [answer for answer in answers if isinstance(answer, Refusal)]
        receipts = [answer.receipt for answer in answers if not isinstance(answer, Refusal)]
        assert (len(refusals), len(receipts), len(deployment.provider.ledger.entries)) == (4, 2, 2)
        assert max(took.values()) < 1.0
        for refusal in refusals:
            assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_WAIT_TOO_LONG")
            assert 1.5 < refusal.retry_seconds < 3.0
            assert int(refusal.pushback or 0) == pytest.approx(1000 * refusal.retry_seconds, abs=2)
            assert refusal.details["QuotaFailure"].violations[0].subject == "lm_requests"
        waits = sorted((wait.kind, wait.duration.ToMilliseconds()) for receipt in receipts for wait in receipt.waits)
        assert [kind for kind, _ in waits] == ["pacing"]
        assert waits[0][1] == pytest.approx(1000, abs=300)


async def test_an_open_circuit_says_when_to_come_back(deployed: Any) -> None:
    async with deployed(lm_max_attempts=1) as deployment:
        deployment.provider.configure(fault="unavailable")
        for number in range(10):
            assert (await deployment.refused(f"Who is {number}?")).reason == "PROVIDER_UNAVAILABLE"
        refusal = await deployment.refused()
        assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "PROVIDER_CIRCUIT_OPEN")
        assert 0 < refusal.retry_seconds <= 6
        assert int(refusal.pushback or 0) > 0
        assert len(deployment.provider.ledger.entries) == 10
