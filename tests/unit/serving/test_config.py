# SPDX-License-Identifier: Apache-2.0
"""Limits that have to agree with each other."""

from __future__ import annotations

import pytest

from slipway_server.config import load_settings
from slipway_server.errors import ConfigInvalid
from slipway_server.serving.config import MIN_MESSAGE_BYTES, ServingConfig
from slipway_server.serving.server import channel_options


def test_settings_reach_the_server() -> None:
    settings = load_settings({"grpc_port": 1, "default_deadline_seconds": 7, "max_concurrent_requests": 3}, environ={})
    config = ServingConfig.from_settings(settings)
    assert (config.grpc_port, config.max_deadline_seconds, config.max_concurrent_requests) == (1, 7, 3)
    assert config.metrics_port == settings.metrics_port


def test_neither_a_stop_nor_an_old_connection_cuts_off_a_request() -> None:
    """gRPC ends an RPC that outlasts the grace of its connection's age, and callers would repeat and pay for it."""
    config = ServingConfig(max_deadline_seconds=120, connection_age_seconds=30)
    options = dict(channel_options(config))
    assert options["grpc.max_connection_age_ms"] == 30_000
    assert options["grpc.max_connection_age_grace_ms"] > 120_000
    assert config.grace_seconds > 120


def test_inputs_that_are_somewhat_too_large_reach_the_typed_error() -> None:
    assert ServingConfig(max_input_bytes=10).max_message_bytes == MIN_MESSAGE_BYTES
    large = ServingConfig(max_input_bytes=8 * 2**20)
    assert large.max_received_bytes > large.max_message_bytes > 8 * 2**20
    assert dict(channel_options(large))["grpc.max_receive_message_length"] == large.max_received_bytes


def test_the_largest_limit_is_one_that_grpc_takes() -> None:
    """Its options are C integers; a larger value would be a traceback at the start."""
    with pytest.raises(ConfigInvalid, match="SLIPWAY_MAX_INPUT_BYTES"):
        load_settings({"max_input_bytes": 16 * 2**20 + 1}, environ={})
    settings = load_settings({"max_input_bytes": 16 * 2**20}, environ={})
    assert ServingConfig.from_settings(settings).max_received_bytes < 2**31
    for_ever = ServingConfig(max_deadline_seconds=1e300, connection_age_seconds=1e300)
    assert all(value < 2**31 for _, value in channel_options(for_ever))


def test_a_port_is_never_shared() -> None:
    assert dict(channel_options(ServingConfig()))["grpc.so_reuseport"] == 0
