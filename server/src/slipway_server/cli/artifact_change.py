# SPDX-License-Identifier: Apache-2.0
"""`slipway artifact adopt` and `migrate`: an artifact made of another file."""

from __future__ import annotations

from pathlib import Path

import typer

from slipway_server.cli.artifact_output import JSON_OPTION, finding_values, print_json
from slipway_server.config import load_settings


def adopt(
    file: Path = typer.Argument(..., help="JSON file that DSPy's save() wrote."),
    program: str | None = typer.Option(None, help="Program that it is for, package.module:Class."),
    store: Path | None = typer.Option(None, help="Folder to write to; default is the file's own."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Make an artifact of a file that DSPy saved without Slipway, of DSPy 2.4 or later. The file stays as it is.

    Example: slipway artifact adopt rag.json --program my.module:RAG --store artifacts
    """
    settings = load_settings({"program": program})
    from slipway_server.artifacts.adopt import adopt as run
    from slipway_server.runtime.imports import import_program

    folder = store or file.parent
    path, findings = run(file, import_program(settings.program), program=settings.program, folder=folder)
    if as_json:
        print_json({"artifact": str(path), "findings": finding_values(findings)})
        return
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding.message}" + (f"; {finding.remedy}" if finding.remedy else ""))
    typer.echo(f"written: {path}")
