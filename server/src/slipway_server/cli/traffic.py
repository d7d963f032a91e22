# SPDX-License-Identifier: Apache-2.0
"""`slipway traffic …`: look at recorded answers, take them elsewhere, forget one user."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import typer

from slipway_server.cli.output import JSON_OPTION, print_json
from slipway_server.cli.values import moment
from slipway_server.config import load_settings

if TYPE_CHECKING:
    from slipway_server.traffic import Forgotten, Record

command = typer.Typer(add_completion=False, no_args_is_help=True)

_DIR = typer.Option(None, "--dir", help="Folder of recorded traffic; default is SLIPWAY_TRAFFIC_DIR.")
_SINCE = typer.Option(None, help="First day or moment, UTC, such as 2026-11-20 or 2026-11-20T08:00.")
_UNTIL = typer.Option(None, help="End (exclusive).")

_BREAKS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"})
"""JSON leaves them as they are within texts, but readers such as Python's str.splitlines end a line there."""


@command.callback()
def _traffic() -> None:
    """Show and export recorded answers and feedback, or forget one user."""


@command.command()
def show(
    dir_: Path | None = _DIR, since: str | None = _SINCE, until: str | None = _UNTIL, as_json: bool = JSON_OPTION
) -> None:
    """Show what is recorded: answers by day and variant, feedback, damage.

    Example: slipway traffic show --since 2026-11-01
    """
    from slipway_server.traffic import read_feedback, read_traffic

    folder, (first, last) = _folder(dir_), _span(since, until)
    traffic = read_traffic(folder, first, last)
    rows = _by_day(traffic.records)
    feedback = read_feedback(folder, first, last)
    ratings = {rating or "unrated": sum(item.rating == rating for item in feedback) for rating in ("good", "bad", "")}
    if as_json:
        damage = {"torn_lines": traffic.damage.torn, "unreadable_files": traffic.damage.unreadable}
        print_json({"days": rows, "feedback": ratings, "damage": damage})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "day", "variant", "artifact", "answers", "with content", "users", "p95 seconds", box=None, header_style="bold"
    )
    for row in rows:
        shown = {**row, "p95_seconds": f"{row['p95_seconds']:.2f}"}
        table.add_row(*(str(value) for value in shown.values()))
    Console().print(table if rows else f"no answers recorded in {folder}")
    typer.echo(f"feedback: {', '.join(f'{count} {rating}' for rating, count in ratings.items())}")
    if traffic.damage.torn or traffic.damage.unreadable:
        typer.echo(f"left out: {traffic.damage.torn} torn lines, {traffic.damage.unreadable} unreadable files")


@command.command()
def export(
    dir_: Path | None = _DIR,
    since: str | None = _SINCE,
    until: str | None = _UNTIL,
    inputs_only: bool = typer.Option(False, "--inputs", help="Inputs only, each once: questions for pre-warming."),
    feedback: bool = typer.Option(False, "--feedback", help="Feedback instead of answers."),
) -> None:
    """Print records as JSON Lines, oldest first.

    Example: slipway traffic export --inputs > questions.jsonl
    """
    from dataclasses import asdict

    from slipway_server.traffic import read_feedback, read_traffic

    folder, (first, last) = _folder(dir_), _span(since, until)
    lines: list[dict[str, Any]]
    if feedback:
        lines = [asdict(item) for item in read_feedback(folder, first, last)]
    else:
        records = read_traffic(folder, first, last).records
        lines = _most_frequent(records) if inputs_only else [record.values() for record in records]
    for line in lines:
        typer.echo(orjson.dumps(line).decode().translate(_BREAKS))


@command.command()
def forget(
    routing_key: str = typer.Option(..., help="Routing key of the user whose data is removed."),
    dir_: Path | None = _DIR,
    as_json: bool = JSON_OPTION,
) -> None:
    """Remove everything recorded for one user so far, and report what was removed.

    Exit code 1: some files could not be read, and may hold more.

    Example: slipway traffic forget --routing-key user-17
    """
    from dataclasses import asdict

    from slipway_server.improve.forget import forget_reports
    from slipway_server.improve.places import loop_folder
    from slipway_server.traffic import forget as forget_traffic
    from slipway_server.traffic import pseudonym

    folder = _folder(dir_)
    done = forget_traffic(folder, routing_key, now=time.time())
    settings = load_settings({"traffic_dir": folder})
    examples = forget_reports(loop_folder(settings), pseudonym(routing_key))
    if as_json:
        print_json({**asdict(done), "report_examples": examples})
    else:
        typer.echo("\n".join(_forgotten_lines(done, examples)))
    if done.unreadable:
        raise typer.Exit(1)


def _forgotten_lines(done: Forgotten, examples: int) -> Iterator[str]:
    yield f"removed {done.records} answers from {done.segments} segments, {done.feedback} pieces of feedback"
    yield f"and {examples} examples from reports"
    if done.pending:
        yield (
            f"{done.pending} more are in segments that running servers write: no reader sees them any more, and the "
            "servers drop them when they close the segments, within 5 minutes; where a server was killed just now, run "
            "this again in 15 minutes"
        )
    if done.unreadable:
        yield f"files that could not be read, and may hold more: {done.unreadable}; run this again"
    yield "not searched: the answer cache (by content, not by user), logs, and artifacts with demos from feedback"


def _folder(given: Path | None) -> Path:
    from slipway_server.traffic import folder_of

    return folder_of(load_settings({"traffic_dir": given}))


def _span(since: str | None, until: str | None) -> tuple[float, float]:
    first = 0.0 if since is None else moment("--since", since)
    return first, math.inf if until is None else moment("--until", until)


def _by_day(records: list[Record]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        day = datetime.fromtimestamp(record.time, UTC).date().isoformat()
        groups.setdefault((day, record.variant, record.digest[:8]), []).append(record)
    return [
        {
            "day": day,
            "variant": variant,
            "artifact": digest,
            "answers": len(group),
            "with_content": sum(bool(record.outputs) for record in group),
            "users": len({record.routing for record in group if record.routing}),
            "p95_seconds": _p95([record.elapsed_seconds for record in group]),
        }
        for (day, variant, digest), group in sorted(groups.items())
    ]


def _p95(values: list[float]) -> float:
    """Of at least one value; the nearest rank, as `slipway evaluate` takes it."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _most_frequent(records: list[Record]) -> list[dict[str, Any]]:
    """Distinct inputs, the most frequent first."""
    counts: dict[bytes, int] = {}
    for record in records:
        if record.inputs and record.variant != "shadow":
            key = orjson.dumps(record.inputs, option=orjson.OPT_SORT_KEYS)
            counts[key] = counts.get(key, 0) + 1
    return [orjson.loads(key) for key, _ in sorted(counts.items(), key=lambda item: -item[1])]
