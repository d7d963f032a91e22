# SPDX-License-Identifier: Apache-2.0
"""Retention: whole files are deleted by the time of their last write, segments and pieces of feedback."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from slipway_server.traffic.feedback import FEEDBACK, SHARD
from slipway_server.traffic.once import DRAFT
from slipway_server.traffic.segments import REQUESTS, all_days, segments

HOURS = 24
DRAFT_SECONDS = 3600.0


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


def drop_old_feedback(folder: Path, now: float, age_seconds: float) -> int:
    """Delete feedback that is older than `age_seconds`; returns how much. 0 keeps it for ever.

    What a killed server left unfinished goes after an hour in any case: nobody reads it, so nobody can forget it.

    One 24th of the folders each hour of the day, so that a large store costs a slow volume little at a time: what is
    due is gone a day later at most. Any number of processes may do this at once.
    """
    hour, dropped = int(now // 3600) % HOURS, 0
    shards = [shard for shard in folder.glob(f"{FEEDBACK}/{SHARD}") if int(shard.name, 16) % HOURS == hour]
    for path in (path for shard in shards for path in shard.iterdir()):
        unfinished = path.name.startswith(DRAFT)
        kept_seconds = DRAFT_SECONDS if unfinished else age_seconds
        with suppress(FileNotFoundError):
            if kept_seconds and path.stat().st_mtime < now - kept_seconds:
                path.unlink()
                dropped += not unfinished
    return dropped
