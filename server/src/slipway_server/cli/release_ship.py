# SPDX-License-Identifier: Apache-2.0
"""What `slipway release ship` looks at before it upgrades: verification, comparison with stable, forecast."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.output import finding_values, print_findings, print_json
from slipway_server.cli.values import program_named
from slipway_server.config import Settings, load_settings

if TYPE_CHECKING:
    from slipway_server.release import State


def checked(
    state: State,
    artifact: Path,
    *,
    program: str | None,
    current: Path | None,
    questions: Path | None,
    rpm: float | None,
    quiet: bool,
) -> tuple[Path, dict[str, Any]]:
    """The artifact's file, and the report as JSON values; printed unless `quiet`. Exits with 1 where it is refused."""
    from slipway_server.artifacts import Served, resolve
    from slipway_server.artifacts import verify as run

    settings = _settings(state, program)
    path = resolve(artifact)
    found = run(path, program_named(settings.program), served=Served.from_settings(settings))
    report: dict[str, Any] = {"verify": finding_values(found.findings), "diff": None, "forecast": None}
    if not quiet:
        print_findings(found.findings)
        typer.echo(f"{found.path.name}: {'refused' if found.refused else 'verified'}")
    if found.refused:
        if quiet:
            print_json({"artifact": str(path), "refused": True, **report})
        raise typer.Exit(1)
    with tempfile.TemporaryDirectory() as folder:
        before = current or (state.stable.write(Path(folder)) if state.stable else None)
        if before is None:
            typer.echo(
                "not compared: the release only says where stable's artifact is; name it with --current", err=True
            )
            return path, report
        return path, report | _beside(settings, before, path, questions, rpm, quiet)


def _beside(
    settings: Settings, before: Path, after: Path, questions: Path | None, rpm: float | None, quiet: bool
) -> dict[str, Any]:
    from slipway_server.cli.artifact_diff import compare

    compared = compare(before, after, settings)
    if not quiet:
        compared.show()
    report: dict[str, Any] = {"diff": compared.values()}
    if questions is not None and rpm is not None:
        from slipway_server.cli.artifact_forecast import foresee

        seen = foresee(settings, before, after, questions, rpm, quiet=quiet)
        report["forecast"] = seen.values()
        if not quiet:
            typer.echo("\n".join(seen.lines()))
    return report


def _settings(state: State, program: str | None) -> Settings:
    """This machine's settings, under what the release says of program, LM, retrieval and configuration."""
    overrides, config = state.settings()
    if program is not None:
        overrides["program"] = program
    return load_settings(overrides, environ={**os.environ, **config})
