# SPDX-License-Identifier: Apache-2.0
"""Retention: segments are deleted as wholes, by the time of their last line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from slipway_server.traffic.segments import REQUESTS, all_days, segments


def drop_old(folder: Path, before: float) -> int:
    """Delete segments last written before `before` (seconds since the epoch), and empty days; returns how many.

    Any number of processes may do this at once.
    """
    dropped = 0
    for day in all_days(folder / REQUESTS):
        for path in segments(day):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    dropped += 1
        with suppress(OSError):
            day.rmdir()
    return dropped
