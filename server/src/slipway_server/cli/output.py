# SPDX-License-Identifier: Apache-2.0
"""What commands print alike: JSON, tables and findings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
import typer

if TYPE_CHECKING:
    from rich.console import Console

    from slipway_server.artifacts import Finding

JSON_OPTION = typer.Option(False, "--json", help="Print JSON.")
_WIDTH = 160
_COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


def console() -> Console:
    """Tables are cut to a terminal's width, but not where the output goes to a file or a pipe."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=max(found.width, _WIDTH))


def print_json(value: Any, *, one_line: bool = False) -> None:
    """One JSON value: indented for readers, or in one line for logs."""
    option = orjson.OPT_NON_STR_KEYS | (0 if one_line else orjson.OPT_INDENT_2)
    typer.echo(orjson.dumps(value, option=option).decode())


def finding_values(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as JSON values."""
    return [
        {"severity": str(one.severity), "check": one.code, "message": one.message, "remedy": one.remedy}
        for one in findings
    ]


def print_findings(findings: Iterable[Finding]) -> None:
    """Findings as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False)
    for one in findings:
        table.add_row(Text(one.severity, _COLOURS[one.severity]), one.code, Text(one.message), Text(one.remedy))
    console().print(table)
