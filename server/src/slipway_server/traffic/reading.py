# SPDX-License-Identifier: Apache-2.0
"""Reads what was recorded.

traffic = read_traffic(folder, since, until)
traffic.records, traffic.damage.torn
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from slipway_server.traffic.config import DAY_SECONDS
from slipway_server.traffic.forget import forgotten, is_forgotten
from slipway_server.traffic.record import Record
from slipway_server.traffic.segments import REQUESTS, Damage, all_days, read, segments

LAST_DAY = "9999-12-31"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Records by time, each request and variant once; and what could not be read."""

    records: list[Record]
    damage: Damage = field(default_factory=Damage)


def read_traffic(folder: Path, since: float = 0.0, until: float = float("inf")) -> Traffic:
    """Records with since <= time < until, in seconds since the epoch. Nothing recorded is an empty result."""
    root, damage = folder / REQUESTS, Damage()
    tombstones = forgotten(folder)
    found: dict[tuple[str, str], Record] = {}
    for day in _days(root, since, until):
        for path in segments(day):
            for values in read(path, damage):
                record = Record.from_values(values)
                if record is not None and since <= record.time < until and not is_forgotten(values, tombstones):
                    found.setdefault((record.request_id, record.variant), record)
    return Traffic(sorted(found.values(), key=lambda record: (record.time, record.request_id)), damage)


def _days(root: Path, since: float, until: float) -> list[Path]:
    """The folders to look into: a segment that was opened the day before may reach into the first day."""
    first = _name_of_day(since - DAY_SECONDS) if since > DAY_SECONDS else ""
    last = _name_of_day(until) if until != float("inf") else LAST_DAY
    return [day for day in all_days(root) if first <= day.name <= last]


def _name_of_day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()
