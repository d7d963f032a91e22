# SPDX-License-Identifier: Apache-2.0
"""Typed clients for programs that Slipway serves over gRPC.

    from slipway_client import SlipwayClient

    with SlipwayClient("localhost:50051") as client:
        print(client.ask("Who wrote it?").answer)

Generated stubs are in `slipway.v1` and `slipway.rag.v1`.
"""

from slipway_client._async import AsyncSlipwayClient
from slipway_client._channel import DEFAULT_DEADLINE_SECONDS, SERVICE_CONFIG
from slipway_client._errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidRequest,
    NotFound,
    Overloaded,
    SlipwayClientError,
    Unavailable,
    Unsupported,
)
from slipway_client._results import (
    Artifact,
    Citation,
    FeedbackStored,
    Prediction,
    RagAnswer,
    Receipt,
    Serving,
    Variant,
)
from slipway_client._sync import SlipwayClient

__all__ = [
    "DEFAULT_DEADLINE_SECONDS",
    "SERVICE_CONFIG",
    "Artifact",
    "AsyncSlipwayClient",
    "Cancelled",
    "Citation",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FeedbackStored",
    "Internal",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "Prediction",
    "RagAnswer",
    "Receipt",
    "Serving",
    "SlipwayClient",
    "SlipwayClientError",
    "Unavailable",
    "Unsupported",
    "Variant",
]
