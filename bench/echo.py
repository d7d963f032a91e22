# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802 (methods are named by the contract)
"""The least that a gRPC server in Python can do: `Ask` and `Predict` give back what they were given.

    python bench/echo.py         # prints where it listens, until SIGTERM

Same loop, gRPC settings and requests as `slipway serve`, and nothing behind them: what that costs is the floor under
every answer. bench/serve.py puts the two side by side.
"""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health

from slipway.rag.v1 import rag_pb2, rag_pb2_grpc
from slipway.v1 import artifact_pb2, artifact_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from slipway_server.config import load_settings
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.server import channel_options


class Rag(rag_pb2_grpc.RagServiceServicer):
    async def Ask(self, request: rag_pb2.AskRequest, context: Any) -> rag_pb2.AskResponse:
        return rag_pb2.AskResponse(answer=request.question)


class Prediction(prediction_pb2_grpc.PredictionServiceServicer):
    async def Predict(self, request: prediction_pb2.PredictRequest, context: Any) -> prediction_pb2.PredictResponse:
        return prediction_pb2.PredictResponse(outputs=request.inputs)


class Artifacts(artifact_pb2_grpc.ArtifactServiceServicer):
    """What the load generator asks first."""

    async def GetServing(self, request: Any, context: Any) -> artifact_pb2.GetServingResponse:
        return artifact_pb2.GetServingResponse(program="echo")


async def serve() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=channel_options(ServingConfig.from_settings(load_settings())))
    rag_pb2_grpc.add_RagServiceServicer_to_server(Rag(), server)
    prediction_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(), server)
    artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(Artifacts(), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"target": f"127.0.0.1:{port}"}), flush=True)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
