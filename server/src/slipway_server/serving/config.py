# SPDX-License-Identifier: Apache-2.0
"""What the server needs of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from slipway_server.config import Settings

GRACE_MARGIN_SECONDS = 5.0
"""What a stop, or a connection that has reached its age, allows beyond the longest deadline."""

MIN_MESSAGE_BYTES = 4 * 1024 * 1024
"""gRPC's own default limit. Ours is never lower."""

RECEIVED_PER_READ = 4
"""Messages up to so many times larger than those that are read still arrive, for a typed error: gRPC's own refusal has
no ErrorInfo, and its RESOURCE_EXHAUSTED makes clients send the same message again."""


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """Addresses, limits and times of one server."""

    host: str = "127.0.0.1"
    grpc_port: int = 0
    metrics_port: int = 0
    max_deadline_seconds: float = 60.0
    """Deadline of a call that has none; longer ones are cut to it."""
    max_input_bytes: int = 256 * 1024
    max_concurrent_requests: int = 1000
    drain_seconds: float = 3.0
    connection_age_seconds: float = 300.0
    dry_run_seconds: float = 60.0
    reflection: bool = True

    @property
    def grace_seconds(self) -> float:
        """Longer than any request may take: nothing that was accepted is cut off."""
        return self.max_deadline_seconds + GRACE_MARGIN_SECONDS

    @property
    def max_message_bytes(self) -> int:
        """Larger requests are not read: feedback carries inputs and outputs. Also the limit of a response."""
        return max(MIN_MESSAGE_BYTES, 4 * self.max_input_bytes)

    @property
    def max_received_bytes(self) -> int:
        """Larger requests are refused by gRPC itself."""
        return RECEIVED_PER_READ * self.max_message_bytes

    @classmethod
    def from_settings(cls, settings: Settings) -> ServingConfig:
        return cls(
            host=settings.host,
            grpc_port=settings.grpc_port,
            metrics_port=settings.metrics_port,
            max_deadline_seconds=settings.default_deadline_seconds,
            max_input_bytes=settings.max_input_bytes,
            max_concurrent_requests=settings.max_concurrent_requests,
            drain_seconds=settings.drain_seconds,
            connection_age_seconds=settings.connection_age_seconds,
            dry_run_seconds=settings.dry_run_seconds,
            reflection=settings.reflection,
        )
