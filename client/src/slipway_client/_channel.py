# SPDX-License-Identifier: Apache-2.0
"""How the client connects: every server behind a name, only healthy ones, and again what a restart dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

DEFAULT_DEADLINE_SECONDS = 30.0

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
KEEPALIVE_SECONDS = 10
KEEPALIVE_TIMEOUT_SECONDS = 5
"""A server whose machine has gone says nothing. gRPC gives a connection up when what it sent, or a ping after so long
without a word, is not acknowledged in time: a call that was under way is sent to another server after 15 s at most, and
a repeat that meets another dead one after 5 s more, which the default deadline leaves time for."""
FIRST_RECONNECT_MS = 100
MAX_RECONNECT_MS = 1000
MIN_RESOLUTION_INTERVAL_MS = 2000
"""A server that is back, or a new one, should be seen soon. gRPC's defaults suit the internet: 1 s to 2 min between
attempts, and 30 s between look-ups of the name, in which a rollout may have replaced every address."""

SERVICE_CONFIG: dict[str, Any] = {
    # One connection to each address behind the name. gRPC's default sends everything to the first one.
    "loadBalancingConfig": [{"round_robin": {}}],
    # Leave out servers that say NOT_SERVING, such as one that is about to stop.
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                # gRPC takes no more than 5.
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "3s",
                "backoffMultiplier": 2,
                # A stopping server drops calls that have arrived but not begun as CANCELLED.
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
            },
        }
    ],
    # Half of the tokens gone: no more repeats, until successes have brought some back.
    "retryThrottling": {"maxTokens": 200, "tokenRatio": 0.2},
}
"""gRPC service config; docs/client.md has it as JSON for other languages. A server's pushback overrules its backoff."""

_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds|passthrough):|\w+://")


def target_uri(target: str) -> str:
    """`host:port` as dns:///host:port, so that every address behind the name is used; URIs as they are."""
    return target if _SCHEME.match(target) else f"dns:///{target}"


def channel_options(own: Sequence[tuple[str, Any]] = ()) -> list[tuple[str, Any]]:
    """gRPC's settings for a channel; `own` come last and win."""
    settings: dict[str, Any] = {
        "grpc.service_config": json.dumps(SERVICE_CONFIG),
        # Requests may be as large as the server takes: it says what is too large with a typed error.
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": MAX_RESPONSE_BYTES,
        "grpc.keepalive_time_ms": KEEPALIVE_SECONDS * 1000,
        "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_SECONDS * 1000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.initial_reconnect_backoff_ms": FIRST_RECONNECT_MS,
        "grpc.max_reconnect_backoff_ms": MAX_RECONNECT_MS,
        "grpc.dns_min_time_between_resolutions_ms": MIN_RESOLUTION_INTERVAL_MS,
        # http_proxy is meant for the way out; these servers are inside.
        "grpc.enable_http_proxy": 0,
    }
    return list((settings | dict(own)).items())
