# SPDX-License-Identifier: Apache-2.0
"""How a Qdrant server is called: again where its connection was lost, and soon after it is back.

AsyncQdrantClient(url=…, prefer_grpc=True, grpc_options=channel_options())

With more than one Qdrant server behind a name, a rolling restart drops connections while other servers go on: a repeat
finds one of those. gRPC makes the repeats, within the time that the caller has, and jitters their waits
(https://github.com/grpc/proposal/blob/master/A6-client-retries.md).
"""

from __future__ import annotations

import json
from typing import Any

ATTEMPTS = 5
"""gRPC takes no more. Their waits come to 1.5 s."""

KEEPALIVE_SECONDS = 10
KEEPALIVE_TIMEOUT_SECONDS = 5
"""A machine that has gone says nothing: its connection is given up after 15 s, not after TCP's quarter of an hour."""
FIRST_RECONNECT_MS = 100
MAX_RECONNECT_MS = 1000
"""gRPC waits up to 2 min between attempts to connect, in which every search would fail though the server is back."""

_READS = ("Get", "List", "ListAliases", "CollectionExists")
_REPEATED = [
    # Points are upserted under their own numbers, so all of these may arrive twice.
    {"service": "qdrant.Points"},
    *({"service": "qdrant.Collections", "method": method} for method in _READS),
]
SERVICE_CONFIG: dict[str, Any] = {
    "methodConfig": [
        {
            "name": _REPEATED,
            "retryPolicy": {
                "maxAttempts": ATTEMPTS,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # No repeats where half of the tokens are gone, as after a hundred failures; successes bring them back.
    "retryThrottling": {"maxTokens": 200, "tokenRatio": 0.2},
}
"""gRPC service config (https://github.com/grpc/grpc/blob/master/doc/service_config.md)."""


def channel_options() -> dict[str, Any]:
    """gRPC's settings for a channel to Qdrant, in a dictionary that is the caller's own."""
    return {
        "grpc.service_config": json.dumps(SERVICE_CONFIG),
        "grpc.keepalive_time_ms": KEEPALIVE_SECONDS * 1000,
        "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_SECONDS * 1000,
        "grpc.initial_reconnect_backoff_ms": FIRST_RECONNECT_MS,
        "grpc.max_reconnect_backoff_ms": MAX_RECONNECT_MS,
    }
