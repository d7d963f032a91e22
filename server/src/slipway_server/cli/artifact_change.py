# SPDX-License-Identifier: Apache-2.0
"""`slipway artifact adopt` and `migrate`: an artifact made of another file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from slipway_server.cli.output import JSON_OPTION, finding_values, print_json
from slipway_server.cli.values import program_named
from slipway_server.config import load_settings
from slipway_server.errors import ConfigInvalid

if TYPE_CHECKING:
    from slipway_server.artifacts import Finding


def adopt(
    file: Path = typer.Argument(..., help="JSON file that DSPy's save() wrote."),
    program: str | None = typer.Option(None, help="Program that it belongs to, package.module:Class."),
    store: Path | None = typer.Option(None, help="Folder to write to; default is the file's own."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Make an artifact from a file that DSPy (2.4 or later) saved without Slipway. The file itself is not changed.

    Example: slipway artifact adopt rag.json --program my.module:RAG --store artifacts
    """
    settings = load_settings({"program": program})
    from slipway_server.artifacts.adopt import adopt as run

    folder = store or file.parent
    path, findings = run(file, program_named(settings.program), program=settings.program, folder=folder)
    _print_written(path, findings, as_json)


def migrate(
    artifact: Path = typer.Argument(..., help="Artifact file, or a store folder (its current artifact)."),
    program: str | None = typer.Option(None, help="The program's present code, package.module:Class."),
    rename: list[str] = typer.Option([], help="Renamed predictor, OLD=NEW, by its attribute name. May be repeated."),
    field: list[str] = typer.Option([], help="Renamed field of any predictor, OLD=NEW. May be repeated."),
    store: Path | None = typer.Option(None, help="Folder to write to; default is the artifact's own."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Carry an artifact over to code whose predictors or fields were renamed. The given artifact is not changed.

    Example: slipway artifact migrate artifacts/ --program my.module:RAG --rename gen=answer --field context=passages
    """
    settings = load_settings({"program": program})
    from slipway_server.artifacts import Served, resolve
    from slipway_server.artifacts.migrate import migrate as run

    path = resolve(artifact)
    migrated, findings = run(
        path,
        program_named(settings.program),
        program=settings.program,
        predictors=_names("--rename", rename),
        fields=_names("--field", field),
        folder=store or path.parent,
        served=Served.from_settings(settings),
    )
    _print_written(migrated, findings, as_json)


def _names(option: str, given: list[str]) -> dict[str, str]:
    names = {}
    for text in given:
        old, _, new = (part.strip() for part in text.partition("="))
        if not (old and new) or "=" in new:
            raise ConfigInvalid(f"{option} {text}: write OLD=NEW")
        names[old] = new
    return names


def _print_written(path: Path, findings: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        print_json({"artifact": str(path), "findings": finding_values(findings)})
        return
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding.message}" + (f"; {finding.remedy}" if finding.remedy else ""))
    typer.echo(f"written: {path}")
