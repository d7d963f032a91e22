# SPDX-License-Identifier: Apache-2.0
"""Removes examples from the loop's reports, one user's or old ones: the JSON is written anew, and the page from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from slipway_server.artifacts.files import write_atomic
from slipway_server.improve.page import page
from slipway_server.improve.places import load, reports


def forget_reports(loop: Path, routing: str) -> int:
    """Remove the examples of one pseudonym; returns how many. Scores stay: they name requests, not users."""
    return _drop(loop, lambda report, example: example.get("routing") == routing)


def expire_reports(loop: Path, before: float) -> int:
    """Remove the examples of reports that were made before `before`, as retention does with what they quote."""
    return _drop(loop, lambda report, example: datetime.fromisoformat(report["time"]).timestamp() < before)


def _drop(loop: Path, unwanted: Callable[[dict[str, Any], dict[str, Any]], bool]) -> int:
    removed = 0
    for path in sorted(reports(loop).glob("*.json")):
        report = load(path)
        if not isinstance(report, dict) or "examples" not in report:
            continue
        kept = [example for example in report["examples"] if not unwanted(report, example)]
        if len(kept) < len(report["examples"]):
            removed += len(report["examples"]) - len(kept)
            write_report(path, {**report, "examples": kept})
    return removed


def write_report(path: Path, report: dict[str, object]) -> None:
    """Write a report as JSON, and the page beside it. It quotes users: as with their records, others may not look."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, orjson.dumps(report, option=orjson.OPT_INDENT_2))
    write_atomic(path.with_suffix(".html"), page(report).encode())
