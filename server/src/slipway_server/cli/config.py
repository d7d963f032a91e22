# SPDX-License-Identifier: Apache-2.0
"""`slipway config`: every key, its value, its origin and its documentation."""

from __future__ import annotations

import typer

from slipway_server.cli.output import JSON_OPTION, print_json
from slipway_server.config import load_settings, rows

command = typer.Typer(add_completion=False)


@command.command()
def config(as_json: bool = JSON_OPTION) -> None:
    """Print every setting with its value, where it came from and what it means; secrets are masked.

    Example: slipway config --json | jq '.[] | select(.origin != "default")'
    """
    found = rows(load_settings())
    if as_json:
        print_json([row._asdict() for row in found])
        return
    for row in found:
        value = f"= {row.value}  ({row.origin})" if row.value else "is not set"
        typer.echo(f"{typer.style(row.key, bold=True)} {value}\n    {row.description}")
