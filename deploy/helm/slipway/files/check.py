# SPDX-License-Identifier: Apache-2.0
"""`helm test`: every service says SERVING, and a call is answered. Arguments: target, inputs as JSON, seconds."""

import json
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from slipway_client import SlipwayClient

SERVICES = ("", "slipway.v1.PredictionService", "slipway.v1.ArtifactService", "slipway.v1.FeedbackService")

target, inputs, seconds = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])
with grpc.insecure_channel(target) as channel:
    health = health_pb2_grpc.HealthStub(channel)
    for service in SERVICES:
        request = health_pb2.HealthCheckRequest(service=service)
        status = health.Check(request, timeout=seconds, wait_for_ready=True).status
        state = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        print(f"{service or 'server'}: {state}")
        if state != "SERVING":
            sys.exit(1)
with SlipwayClient(target, deadline_seconds=seconds) as client:
    prediction = client.predict(inputs)
    print(json.dumps(dict(prediction.outputs)))
    print(f"artifact {prediction.receipt.artifact_digest}, variant {prediction.receipt.variant}")
