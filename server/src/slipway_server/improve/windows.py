# SPDX-License-Identifier: Apache-2.0
"""Windows: days, or weeks from Monday, UTC; which of them are due, which answers of them are judged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from slipway_server.evaluation import Evaluation, Outcome
from slipway_server.improve.decide import Preset, Window
from slipway_server.improve.places import load, publish
from slipway_server.runtime.variants import SHADOW
from slipway_server.traffic import Record
from slipway_server.traffic.config import DAY_SECONDS

WORST = 10
GRACE_SECONDS = 600.0
"""After its end a window waits so long for the last lines of other pods."""


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What is stored of a window. `worst`: request ids with the lowest scores. `shadow`: pairs, stable first.

    `collection`: the version that the newest judged answer was found in.
    """

    name: str
    n: int
    total: float
    squares: float
    recorded: int = 0
    frozen: bool = False
    infrastructure_errors: int = 0
    parse_errors: int = 0
    attempts_per_call: float = 0.0
    collection: str = ""
    worst: list[tuple[str, float]] = field(default_factory=list)
    shadow: list[tuple[float, float]] = field(default_factory=list)
    shadow_digest: str = ""

    @property
    def window(self) -> Window:
        """For the decision."""
        return Window(self.name, self.n, self.total, self.squares, self.frozen)


def start_of(moment: float, preset: Preset) -> date:
    """First day of the window that holds a moment."""
    day = datetime.fromtimestamp(moment, UTC).date()
    return day if preset.days == 1 else day - timedelta(days=day.weekday())


def span(first: date, preset: Preset) -> tuple[float, float]:
    """Begin and end of a window, in seconds since the epoch."""
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()
    return begin, begin + preset.days * DAY_SECONDS


def due(first: date, done: Sequence[str], preset: Preset, now: float) -> list[date]:
    """Windows from `first` on that have ended and are not done, oldest first."""
    found = []
    while span(first, preset)[1] + GRACE_SECONDS <= now:
        if first.isoformat() not in done:
            found.append(first)
        first += timedelta(days=preset.days)
    return found


def stored(folder: Path) -> list[WindowResult]:
    """Every result, oldest first."""
    values = [load(path) for path in sorted(folder.glob("*.json"))]
    return [_from_values(value) for value in values if value]


def store(folder: Path, result: WindowResult) -> bool:
    """Publish a result; returns whether this process was the first."""
    return publish(folder / f"{result.name}.json", asdict(result))


def sample(records: Iterable[Record], n: int, salt: str) -> list[Record]:
    """`n` of the records by hash of their request ids: the same ones in every run."""

    def rank(record: Record) -> bytes:
        return hashlib.blake2b(f"{salt}\n{record.request_id}".encode(), digest_size=8).digest()

    return sorted(records, key=rank)[:n]


def result_of(
    name: str, of_window: Sequence[Record], judged: Sequence[Record], evaluation: Evaluation, *, frozen: bool
) -> WindowResult:
    """A window's result from the judged answers of stable and shadow."""
    scored = {
        (record.request_id, record.variant): item.score
        for record, item in zip(judged, evaluation.items, strict=True)
        if item.score is not None
    }
    stable = {request_id: score for (request_id, variant), score in scored.items() if variant != SHADOW}
    pairs = [
        (score, scored[request_id, SHADOW]) for request_id, score in stable.items() if (request_id, SHADOW) in scored
    ]
    calls = sum(record.lm_calls for record in of_window)
    live = [record for record in judged if record.variant != SHADOW]
    return WindowResult(
        name=name,
        n=len(stable),
        total=sum(stable.values()),
        squares=sum(score * score for score in stable.values()),
        recorded=len(of_window),
        frozen=frozen,
        infrastructure_errors=evaluation.count(Outcome.INFRASTRUCTURE_ERROR),
        parse_errors=evaluation.count(Outcome.PARSE_ERROR),
        attempts_per_call=sum(record.attempts for record in of_window) / calls if calls else 0.0,
        collection=max(live, key=lambda record: record.time).collection_version if live else "",
        worst=sorted(stable.items(), key=lambda item: (item[1], item[0]))[:WORST],
        shadow=pairs,
        shadow_digest=next((record.digest for record in judged if record.variant == SHADOW), ""),
    )


def _from_values(values: dict[str, Any]) -> WindowResult:
    pairs = {key: [tuple(pair) for pair in values.get(key, [])] for key in ("worst", "shadow")}
    return WindowResult(**{**values, **pairs})
