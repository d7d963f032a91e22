# SPDX-License-Identifier: Apache-2.0
"""`slipway serve` on a volume that is full or hangs, through gRPC: records are lost and counted, no request fails."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import programs
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from volumes import DeadMount, FileLimit, FullDisk, StuckFile, Volume

from slipway.v1.feedback_pb2 import SubmitFeedbackRequest
from slipway.v1.feedback_pb2_grpc import FeedbackServiceStub
from slipway_client import AsyncSlipwayClient
from slipway_server.traffic import Feedback, Traffic, read_feedback, read_traffic

SLIPWAY = str(Path(sys.executable).with_name("slipway"))
PATIENCE_SECONDS = 120
DEADLINE_SECONDS = 60
"""Of each request. A volume that hangs does so for good: a request that waited for it would fail."""
QUEUE = 1000

pytestmark = pytest.mark.timeout(400)


@dataclass
class Running:
    """A server that records every answer to `volume`."""

    process: asyncio.subprocess.Process
    client: AsyncSlipwayClient
    target: str
    metrics: str
    volume: Volume
    asked: int = 0

    async def stored(self) -> tuple[Traffic, list[Feedback]]:
        """What is on the volume, as the server sees it."""
        folder = self.volume.seen_by(self.process.pid)
        return await asyncio.to_thread(lambda: (read_traffic(folder), read_feedback(folder)))

    async def ask(self, number: int) -> None:
        """Ask so many questions, a few at once; every one must be answered."""
        first, self.asked = self.asked, self.asked + number
        turns = asyncio.Semaphore(50)

        async def one(n: int) -> None:
            async with turns:
                answer = await self.client.predict({"question": f"When was mill {n} built?"}, request_id=f"r-{n}")
            assert set(answer.outputs) >= {"answer"}

        await asyncio.gather(*(one(n) for n in range(first, self.asked)))

    async def ask_until(self, outcome: str, more_than: float = 0) -> None:
        """Ask until so many records have met that fate."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.records(outcome) <= more_than:
                await self.ask(10)

    async def records(self, outcome: str) -> float:
        """How many records met that fate, as the server exports it."""
        found = await self.samples("slipway_traffic_records_total")
        return sum(sample.value for sample in found if sample.labels["outcome"] == outcome)

    async def codes(self) -> set[str]:
        """Every code with which the server has answered a question, also attempts that the client made good."""
        found = await self.samples("slipway_rpc_duration_seconds_count")
        return {sample.labels["code"] for sample in found if sample.labels["method"].endswith("Predict")}

    async def samples(self, name: str) -> list[Sample]:
        """One metric of /metrics."""

        def scrape() -> str:
            with urlopen(self.metrics, timeout=DEADLINE_SECONDS) as response:
                return str(response.read(), "utf-8")

        families = text_string_to_metric_families(await asyncio.to_thread(scrape))
        return [sample for family in families for sample in family.samples if sample.name == name]

    async def comment(self, feedback_id: str) -> bool:
        """Give feedback; whether it was stored before."""
        given = {"good": False, "inputs": {"question": "When?"}, "feedback_id": feedback_id}
        stored = await self.client.submit_feedback("r-1", deadline_seconds=DEADLINE_SECONDS, **given)
        return stored.duplicate

    async def refusal(self, feedback_id: str) -> str:
        """Give feedback without a client that would try again; what the server says, which is UNAVAILABLE."""
        given = SubmitFeedbackRequest(feedback_id=feedback_id, request_id="r-1")
        async with grpc.aio.insecure_channel(self.target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await FeedbackServiceStub(channel).SubmitFeedback(given, timeout=DEADLINE_SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        return refused.value.details() or ""

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def serving(volume: Volume, scratch: Path) -> AsyncIterator[Running]:
    environ = {
        "SLIPWAY_PROGRAM": "programs:Plain",
        "SLIPWAY_ALLOW_UNCOMPILED": "true",
        "SLIPWAY_TRAFFIC_DIR": str(volume.folder),
        "SLIPWAY_TRAFFIC_SAMPLE": "1",
        "SLIPWAY_TRAFFIC_FIELDS": "*",
        "SLIPWAY_SCRATCH_DIR": str(scratch),
        "SLIPWAY_GRPC_PORT": "0",
        "SLIPWAY_METRICS_PORT": "0",
        "SLIPWAY_DRAIN_SECONDS": "0",
        "SLIPWAY_LOG_LEVEL": "error",
        "DSPY_CACHEDIR": str(scratch / "cache"),
        "PYTHONPATH": str(Path(programs.__file__).parent),
    }
    process = await asyncio.create_subprocess_exec(
        *volume.command(),
        SLIPWAY,
        "serve",
        "--json",
        env=os.environ | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            ready = await process.stdout.readline()
            assert ready, await process.stderr.read()
        facts: dict[str, Any] = json.loads(ready)
        metrics = f"http://127.0.0.1:{facts['metrics_port']}/metrics"
        async with AsyncSlipwayClient(facts["target"], deadline_seconds=DEADLINE_SECONDS) as client:
            yield Running(process, client, facts["target"], metrics, volume)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def made(kind: type[Volume], tmp_path: Path) -> Volume:
    volume = kind(tmp_path / "volume")
    if not volume.is_usable():
        pytest.skip("this system mounts nothing for tests")
    return volume


@pytest.mark.parametrize("kind", [FullDisk, FileLimit])
async def test_a_full_volume_costs_records_and_no_request(kind: type[Volume], tmp_path: Path) -> None:
    volume = made(kind, tmp_path)
    async with serving(volume, tmp_path) as server:
        await server.ask_until("written")
        volume.spoil(server.process.pid)
        await server.ask_until("failed")
        await server.ask_until("lost_volume")
        assert "its volume fails" in await server.refusal("f-1")

        volume.mend(server.process.pid)
        await server.ask_until("written", await server.records("written"))
        assert await server.comment("f-1") is False
        traffic, feedback = await server.stored()
        assert 0 < len(traffic.records) < server.asked
        assert all(record.outputs for record in traffic.records)
        assert traffic.damage.torn <= await server.records("failed")
        assert [found.feedback_id for found in feedback] == ["f-1"]
        assert await server.codes() == {"OK"}
        assert await server.stop() == 0


async def test_a_hanging_volume_costs_records_and_no_request(tmp_path: Path) -> None:
    volume = StuckFile(tmp_path / "volume")
    async with serving(volume, tmp_path) as server:
        await server.ask(QUEUE + 100)
        await server.ask_until("lost_queue_full")
        before = await server.records("written")
        assert before <= 1
        volume.mend(server.process.pid)
        await server.ask_until("written", before)
        traffic, _ = await server.stored()
        assert traffic.records
        assert await server.codes() == {"OK"}
        assert await server.stop() == 0


async def test_a_server_whose_whole_volume_hangs_answers_refuses_feedback_and_stops(tmp_path: Path) -> None:
    volume = made(DeadMount, tmp_path)
    async with serving(volume, tmp_path) as server:
        await server.ask(QUEUE + 100)
        await server.ask_until("lost_queue_full")
        assert "its volume hangs" in await server.refusal("f-1")
        assert await server.records("written") == 0
        assert await server.codes() == {"OK"}
        assert await server.stop() == 0
