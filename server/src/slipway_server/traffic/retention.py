# SPDX-License-Identifier: Apache-2.0
"""Retention: whole files are deleted by the time of their last write, segments and pieces of feedback."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from slipway_server.traffic.feedback import FEEDBACK, SHARD
from slipway_server.traffic.once import DRAFT
from slipway_server.traffic.segments import REQUESTS, all_days, segments

HOURS = 24
DRAFT_SECONDS = 3600.0

log = logging.getLogger(__name__)


def drop_old(folder: Path, before: float) -> int:
    """Delete segments last written before `before` (seconds since the epoch), and empty days; returns how many.

    Any number of processes may do this at once.
    """
    days = all_days(folder / REQUESTS)
    dropped = _delete((path, before) for day in days for path in segments(day))
    for day in days:
        with suppress(OSError):
            day.rmdir()
    return dropped


def drop_old_feedback(folder: Path, now: float, age_seconds: float) -> int:
    """Delete feedback that is older than `age_seconds`; returns how much. 0 keeps it for ever.

    What a killed server left unfinished goes after an hour in any case: nobody reads it, so nobody can forget it.

    One 24th of the folders each hour of the day, so that a large store costs a slow volume little at a time: what is
    due is gone a day later at most. Any number of processes may do this at once.
    """
    hour = int(now // 3600) % HOURS
    shards = [shard for shard in folder.glob(f"{FEEDBACK}/{SHARD}") if int(shard.name, 16) % HOURS == hour]
    found = [path for shard in shards for path in shard.iterdir()]
    _delete((path, now - DRAFT_SECONDS) for path in found if _is_draft(path))
    return _delete((path, now - age_seconds) for path in found if not _is_draft(path)) if age_seconds else 0


def _is_draft(path: Path) -> bool:
    return path.name.startswith(DRAFT)


def _delete(due: Iterable[tuple[Path, float]]) -> int:
    """Delete files last written before a time each; returns how many this call deleted.

    One that cannot be deleted keeps no other from it, and is said.
    """
    deleted, failed = 0, []
    for path, before in due:
        try:
            if path.stat().st_mtime < before:
                path.unlink()
                deleted += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            failed.append(error)
    if failed:
        log.warning("%d files are not deleted although their time is over, the first: %s", len(failed), failed[0])
    return deleted
