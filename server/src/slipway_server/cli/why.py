# SPDX-License-Identifier: Apache-2.0
"""`slipway why`: where one request's time went, and what happened to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.output import JSON_OPTION, console, print_json
from slipway_server.errors import ConfigInvalid

if TYPE_CHECKING:
    from slipway_server.telemetry.timeline import Timeline

command = typer.Typer(add_completion=False)

_STYLES = {"error": "red", "warning": "yellow"}


@command.command()
def why(
    request_id: str = typer.Argument(..., help="The request's id: in the receipt, and in the trailer x-request-id."),
    logs: list[Path] = typer.Argument(None, help="JSON log files; - or none means standard input."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Tell the story of one request from the JSON logs (SLIPWAY_LOG_FORMAT=json) of one server or several.

    At SLIPWAY_LOG_LEVEL=info the logs say how it ended and what was unusual; at debug also each search, cache look-up
    and attempt. Exit code 1: the logs do not know the request.

    Example: kubectl logs -l app.kubernetes.io/name=slipway --tail=-1 | slipway why 8f1c0d… -
    """
    from slipway_server.telemetry.timeline import events_of, timelines

    events = events_of(_lines(logs or [Path("-")]), request_id)
    if not events:
        typer.secho(f"slipway: no event of request {request_id} in these logs", fg=typer.colors.RED, err=True)
        raise typer.Exit(1)
    found = timelines(events, request_id)
    if as_json:
        print_json([_values(one) for one in found])
    else:
        for one in found:
            _print(one)


def _lines(logs: list[Path]) -> Iterator[str]:
    for path in logs:
        if str(path) == "-":
            yield from typer.get_text_stream("stdin", encoding="utf-8", errors="replace")
            continue
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                yield from file
        except OSError:
            raise ConfigInvalid(f"no log can be read from {path}") from None


def _print(found: Timeline) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    total = "its end is not in these logs" if found.seconds is None else f"{found.code} after {found.seconds:.3f} s"
    out.print(Text(f"request {found.request_id} at {found.started:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f": {total}", "bold"))
    table = Table(box=None, show_header=False)
    for step in found.steps:
        style = _STYLES.get(step.level, "")
        table.add_row(f"+{step.offset_seconds:.3f} s", step.what, Text(step.words, style), Text(step.source, "dim"))
    out.print(table)
    if found.shares:
        shares = Table(box=None, show_header=False, title="where the time went", title_justify="left")
        for what, seconds in found.shares.items():
            part = f"{100 * seconds / found.seconds:.0f} %" if found.seconds else ""
            shares.add_row(f"{seconds:.3f} s", part, what)
        out.print(shares)


def _values(found: Timeline) -> dict[str, Any]:
    return {
        "request_id": found.request_id,
        "started": found.started,
        "seconds": found.seconds,
        "code": found.code,
        "steps": [
            {
                "offset_seconds": round(step.offset_seconds, 6),
                "event": step.what,
                "level": step.level,
                "words": step.words,
                "source": step.source,
            }
            for step in found.steps
        ],
        "shares_seconds": dict(found.shares),
    }
