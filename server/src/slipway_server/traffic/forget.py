# SPDX-License-Identifier: Apache-2.0
"""Forgets one user: by routing key, in records and feedback.

    done = forget(folder, "user-17", now=time.time())
    done.records, done.feedback, done.pending

First a tombstone is written: from then on no reader gives out the user's earlier records. Closed segments are rewritten
at once. A segment that a running server still writes is the server's own, so it drops the lines when it closes it, at
the latest after five minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from slipway_server.artifacts.files import write_atomic
from slipway_server.errors import ConfigInvalid
from slipway_server.traffic.feedback import forget_feedback
from slipway_server.traffic.record import pseudonym
from slipway_server.traffic.segments import CLOSED, REQUESTS, Damage, all_days, read, rewrite, segments

FORGOTTEN = "forgotten"
STALE_SECONDS = 900.0
"""An `.open` segment untouched for so long has no writer any more."""

Tombstones = Mapping[str, float]
"""Pseudonym → time up to which everything of it is forgotten."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was removed. `pending`: records in segments that running servers will close within minutes.

    `unreadable`: files that could not be searched; they may hold more.
    """

    records: int
    segments: int
    feedback: int
    pending: int
    unreadable: int


def forgotten(folder: Path) -> Tombstones:
    """Every tombstone; unreadable ones are left out."""
    found: dict[str, float] = {}
    with suppress(FileNotFoundError):
        for path in (folder / FORGOTTEN).glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                found[path.stem] = float(orjson.loads(path.read_bytes())["time"])
    return found


def is_forgotten(values: Any, tombstones: Tombstones) -> bool:
    """Whether a record, as JSON values, belongs to a forgotten user."""
    return bool(tombstones) and values.get("time", 0.0) <= tombstones.get(values.get("routing", ""), float("-inf"))


def scrub(path: Path, tombstones: Tombstones) -> int:
    """Drop forgotten records from a segment that nobody writes; returns how many."""
    if not tombstones:
        return 0
    return rewrite(path, lambda values: not is_forgotten(values, tombstones))


def forget(folder: Path, routing_key: str, *, now: float) -> Forgotten:
    """Remove everything recorded up to `now` for a routing key. May be repeated; what came later stays.

    Raises ConfigInvalid for an empty key, which would mean everybody without one, and where there is no such folder.
    """
    if not routing_key:
        raise ConfigInvalid("the routing key is empty: it names one user, and answers without a key are nobody's")
    if not folder.is_dir():
        raise ConfigInvalid(f"{folder}: no such folder of recorded traffic", key="SLIPWAY_TRAFFIC_DIR")
    name = pseudonym(routing_key)
    write_atomic(folder / FORGOTTEN / f"{name}.json", orjson.dumps({"time": now}))
    tombstones = {name: now}
    removed = touched = pending = 0
    damage = Damage()
    for day in all_days(folder / REQUESTS):
        for path in segments(day):
            mine = sum(is_forgotten(values, tombstones) for values in read(path, damage))
            if not mine:
                continue
            if path.suffix == CLOSED or _is_stale(path, now):
                removed += scrub(path, tombstones)
                touched += 1
            else:
                pending += mine
    feedback = forget_feedback(folder, name, damage)
    return Forgotten(removed, touched, feedback, pending, damage.unreadable)


def _is_stale(path: Path, now: float) -> bool:
    try:
        return now - path.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return False
