# SPDX-License-Identifier: Apache-2.0
"""`slipway config`: every key, its value, its origin and its documentation."""

from __future__ import annotations

import orjson
import typer
from rich.console import Console
from rich.table import Column, Table

from slipway_server.config import load_settings, rows

command = typer.Typer(add_completion=False)


@command.command()
def config(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Print every configuration key, its value, where it came from and what it means; secrets are masked.

    Example: slipway config --json | jq '.[] | select(.origin != "default")'
    """
    found = rows(load_settings())
    if as_json:
        typer.echo(orjson.dumps([row._asdict() for row in found], option=orjson.OPT_INDENT_2).decode())
        return
    columns = (Column("key", no_wrap=True), Column("value", overflow="fold"), "origin", "meaning")
    table = Table(*columns, box=None, header_style="bold")
    for row in found:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)
