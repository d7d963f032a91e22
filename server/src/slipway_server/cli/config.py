# SPDX-License-Identifier: Apache-2.0
"""`slipway config`: every key, its value, its origin and its documentation."""

from __future__ import annotations

import orjson
import typer

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
    for row in found:
        value = f"= {row.value}  ({row.origin})" if row.value else "is not set"
        typer.echo(f"{typer.style(row.key, bold=True)} {value}\n    {row.description}")
