# SPDX-License-Identifier: Apache-2.0
"""Where the loop keeps its results, all below one folder on the shared volume.

    artifacts/<digest>-<judge>/judge.json              the judge that every score below belongs to, and the preset
    artifacts/<digest>-<judge>/anchors.json            what judge and program said of the anchors when they were new
    artifacts/<digest>-<judge>/windows/<day>.json      one window's result, written once
    artifacts/<digest>-<judge>/scores/<day>-….jsonl    every judged answer's score, so that a run can be resumed
    claims/<digest>-<day>.json                         who may recompile, for which alarm; .beat: that it still does
    triggers/<digest>-<day>.json                       the report of that alarm without users' texts; never changed
    gates/<digest>-<day>.json                          what the recompilation came to
    rejected/…                                         compiled programs that did not pass
    reports/…                                          what people read
    latest.json                                        the newest report's figures; servers show them as metrics

There is no state besides these files: a verdict is computed from all windows each time. Files that two processes could
write at once are written once (traffic/once.py), so that the first one wins and the other reads it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid, DataCorrupt
from slipway_server.traffic.once import write_once
from slipway_server.traffic.quality import LATEST

UNCOMPILED = "uncompiled"


@dataclass(frozen=True, slots=True)
class Places:
    """Paths for one artifact under one judge."""

    loop: Path
    digest: str
    judge: str

    @property
    def short(self) -> str:
        """The artifact as file names have it."""
        return self.digest[:16] or UNCOMPILED

    @property
    def folder(self) -> Path:
        """What belongs to this artifact and judge."""
        return self.loop / "artifacts" / f"{self.short}-{self.judge[:8]}"

    @property
    def pinned(self) -> Path:
        """The judge and the preset of everything in the folder."""
        return self.folder / "judge.json"

    @property
    def anchors(self) -> Path:
        """The anchors' first scores."""
        return self.folder / "anchors.json"

    @property
    def windows(self) -> Path:
        """One file per window."""
        return self.folder / "windows"

    @property
    def scores(self) -> Path:
        """Scores of single answers."""
        return self.folder / "scores"

    def report(self, window: str) -> Path:
        """The report as JSON; the page lies beside it."""
        return reports(self.loop) / f"{self.short}-{window}.json"

    def trigger(self, window: str) -> Path:
        """A confirmed alarm's report."""
        return triggers(self.loop) / f"{self.short}-{window}.json"

    def retire(self, label: str) -> None:
        """Put baseline and windows aside: the next run begins a new baseline."""
        with suppress(FileNotFoundError):
            self.folder.rename(self.folder.with_name(f"{self.folder.name}.retired-{label}"))


def loop_folder(settings: Settings) -> Path:
    """SLIPWAY_LOOP_DIR, or `loop` in the traffic's folder. Raises ConfigInvalid where neither is set."""
    if settings.loop_dir is not None:
        return settings.loop_dir
    if settings.traffic_dir is None:
        raise ConfigInvalid("the loop has no folder: set SLIPWAY_TRAFFIC_DIR", key="SLIPWAY_TRAFFIC_DIR")
    return settings.traffic_dir / "loop"


def reports(loop: Path) -> Path:
    """All reports."""
    return loop / "reports"


def triggers(loop: Path) -> Path:
    """Confirmed alarms."""
    return loop / "triggers"


def gates(loop: Path) -> Path:
    """Results of recompilations."""
    return loop / "gates"


def latest(loop: Path) -> Path:
    """The newest report's figures."""
    return loop / LATEST


def publish(path: Path, value: Any) -> bool:
    """Write `value` as JSON unless the file exists; returns whether this call wrote it. Readers see all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_once(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


def load(path: Path) -> Any | None:
    """A published value; None where there is none yet. Raises DataCorrupt where it is no JSON."""
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError:
        raise DataCorrupt(f"{path}: is damaged; move it away, and what it says is found anew") from None
