# SPDX-License-Identifier: Apache-2.0
"""A server with recording on: answers and feedback that come over gRPC are on the volume when it stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

from slipway_client import AsyncSlipwayClient
from slipway_server.config import load_settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.runtime.service import open_service
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.server import Server
from slipway_server.traffic import pseudonym, read_feedback, read_traffic
from slipway_server.traffic.hooks import recording


async def serve_and_ask(folder: Path) -> tuple[bool, bool]:
    values = {
        "program": "programs:Plain",
        "allow_uncompiled": True,
        "traffic_dir": folder / "traffic",
        "traffic_sample": 1.0,
        "traffic_fields": "question,answer",
        "cache_dir": folder / "cache",
    }
    settings = load_settings(values, environ={})
    async with recording(settings) as (recorder, feedback):
        service = await open_service(settings, OwnerLoop.of_running_loop(), recorder=recorder, feedback=feedback)
        server = Server(service, ServingConfig(drain_seconds=0))
        await server.start()
        await server.readiness.open()
        async with AsyncSlipwayClient(f"127.0.0.1:{server.grpc_port}") as client:
            answer = await client.predict({"question": "when was it, a@b.org?"}, routing_key="ann", request_id="r-1")
            stored = [
                await client.submit_feedback(
                    answer.receipt.request_id,
                    good=False,
                    correct_outputs={"answer": "1868", "secret": "x"},
                    inputs={"question": "when was it, a@b.org?"},
                    outputs=answer.outputs,
                    routing_key="ann",
                    feedback_id="f-1",
                )
                for _ in range(2)
            ]
        await server.stop(drain=False)
        await service.aclose()
    return stored[0].duplicate, stored[1].duplicate


def test_answers_and_feedback_reach_the_volume(tmp_path: Path) -> None:
    assert asyncio.run(serve_and_ask(tmp_path)) == (False, True)
    [record] = read_traffic(tmp_path / "traffic").records
    assert (record.request_id, record.routing) == ("r-1", pseudonym("ann"))
    assert record.inputs == {"question": "when was it, <email>?"}
    assert list(record.outputs) == ["answer"]
    [feedback] = read_feedback(tmp_path / "traffic")
    assert (feedback.request_id, feedback.rating, feedback.routing) == ("r-1", "bad", pseudonym("ann"))
    assert feedback.correct_outputs == {"answer": "1868"}
