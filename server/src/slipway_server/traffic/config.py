# SPDX-License-Identifier: Apache-2.0
"""What is recorded, where, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid
from slipway_server.traffic.redact import Redactor, hooks_named

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class TrafficConfig:
    """`sample`: share of requests, by hash of their id. `queue_records`: what may wait for the volume; more is lost."""

    folder: Path
    redactor: Redactor
    loop: Path | None = None
    """Folder of the loop's results, whose newest figures servers show as metrics."""
    sample: float = 0.05
    retention_seconds: float = 30 * DAY_SECONDS
    feedback_retention_seconds: float = 400 * DAY_SECONDS
    """0 keeps it for ever."""
    rotate_bytes: int = 8 * 1024 * 1024
    rotate_seconds: float = 300.0
    sync_seconds: float = 1.0
    queue_records: int = 1000
    retry_seconds: float = 5.0
    """Pause after a write that failed; meanwhile records are lost, and counted."""
    close_seconds: float = 3.0
    """What a stop waits for the volume: once for room in the queue, once for the last lines."""

    @classmethod
    def from_settings(cls, settings: Settings) -> TrafficConfig | None:
        """None where nothing is recorded. Raises ProgramInvalid for a redaction hook that cannot be imported."""
        if settings.traffic_dir is None:
            return None
        allowed = [name.strip() for name in (settings.traffic_fields or "").split(",") if name.strip()]
        return cls(
            folder=settings.traffic_dir,
            loop=settings.loop_dir or settings.traffic_dir / "loop",
            redactor=Redactor(allowed, hooks_named(settings.traffic_redact)),
            sample=settings.traffic_sample,
            retention_seconds=settings.traffic_retention_days * DAY_SECONDS,
            feedback_retention_seconds=settings.feedback_retention_days * DAY_SECONDS,
        )


def folder_of(settings: Settings) -> Path:
    """The folder that is recorded to. Raises ConfigInvalid where recording is off."""
    if settings.traffic_dir is None:
        raise ConfigInvalid("no traffic is recorded: set SLIPWAY_TRAFFIC_DIR", key="SLIPWAY_TRAFFIC_DIR")
    return settings.traffic_dir
