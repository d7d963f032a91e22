# SPDX-License-Identifier: Apache-2.0
"""A dataclass in a command's signature is its fields on the command line, in the same place."""

from __future__ import annotations

from dataclasses import dataclass

import typer
from typer.testing import CliRunner

from slipway_server.cli.options import expanded


@dataclass(frozen=True)
class Place:
    host: str = typer.Option(..., "--host", help="Where.")
    port: int = typer.Option(80, "--port")


app = typer.Typer()


@app.command()
@expanded
def command(*, name: str = typer.Argument(...), place: Place, loud: bool = typer.Option(False, "--loud")) -> None:
    """What it does."""
    typer.echo(f"{name} {place} {loud}")


def test_fields_become_options() -> None:
    result = CliRunner().invoke(app, ["me", "--host", "there", "--port", "81", "--loud"])
    assert result.stdout == "me Place(host='there', port=81) True\n"
    assert CliRunner().invoke(app, ["me", "--host", "there"]).stdout == "me Place(host='there', port=80) False\n"
    assert CliRunner().invoke(app, ["me"]).exit_code == 2, "a required field is a required option"


def test_the_order_and_the_texts_stay() -> None:
    found = typer.main.get_command(app)
    assert [parameter.name for parameter in found.params[:4]] == ["name", "host", "port", "loud"]
    assert found.help == "What it does."
