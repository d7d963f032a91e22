# SPDX-License-Identifier: Apache-2.0
"""`slipway artifact …`: show, list, verify, adopt, promote and roll back artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import typer

from slipway_server.config import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from slipway_server.artifacts import Entry, Manifest, Report

command = typer.Typer(add_completion=False, no_args_is_help=True)

_STORE = typer.Option(Path("artifacts"), "--store", help="Folder of the artifacts.")
_WIDTH = 160
_JSON = typer.Option(False, "--json", help="Print JSON.")


@command.callback()
def _artifact() -> None:
    """Look after artifacts. An artifact is named by its file or by the beginning of its digest."""


@command.command("list")
def list_(store: Path = _STORE, as_json: bool = _JSON) -> None:
    """List the artifacts of a store, newest first.

    Example: slipway artifact list --store artifacts
    """
    from slipway_server.artifacts import Store

    entries = Store(store).list()
    if as_json:
        _print_json([_values(entry) for entry in entries])
        return
    from rich.table import Table

    table = Table(
        "", "digest", "created", "program", "optimizer", "metric", "score", "n", box=None, header_style="bold"
    )
    for entry in entries:
        manifest = entry.manifest
        scored = manifest.compiled
        table.add_row(
            "*" if entry.current else "",
            manifest.digest[:8],
            f"{manifest.created:%Y-%m-%d %H:%M}",
            manifest.program.rpartition(":")[2],
            manifest.optimizer.name,
            manifest.metric,
            f"{scored.score:.3f} ({scored.interval[0]:.3f} to {scored.interval[1]:.3f})" if scored else "not measured",
            str(scored.n) if scored else "",
        )
    if entries:
        _console().print(table)
    else:
        typer.echo(f"no artifacts in {store}")


@command.command()
def show(
    artifact: str | None = typer.Argument(None, help="Artifact; default is the store's current one."),
    store: Path = _STORE,
    as_json: bool = _JSON,
) -> None:
    """Show one artifact: where it comes from, what it scored, its instructions and demos.

    Example: slipway artifact show 3f2a91c0
    """
    from slipway_server.artifacts import Store, resolve

    entry = Store(store).find(artifact or resolve(store).name)
    state = orjson.loads(entry.path.read_bytes())
    if as_json:
        _print_json({**_values(entry), "state": state})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False)
    for label, value in _facts(entry.manifest):
        table.add_row(Text(label, "bold"), Text(value))
    for name, predictor in state.items():
        for label, text in _contents(predictor):
            table.add_row(Text(f"{name} {label}", "bold"), Text(text))
    typer.echo(entry.name + (" (current)" if entry.current else ""))
    _console().print(table)


@command.command()
def promote(artifact: str = typer.Argument(..., help="Artifact."), store: Path = _STORE, as_json: bool = _JSON) -> None:
    """Make an artifact the store's current one.

    Example: slipway artifact promote 3f2a91c0
    """
    from slipway_server.artifacts import Store

    _print_current(Store(store).promote(artifact), as_json)


@command.command()
def rollback(store: Path = _STORE, as_json: bool = _JSON) -> None:
    """Make the artifact before the current one current again.

    Example: slipway artifact rollback
    """
    from slipway_server.artifacts import Store

    _print_current(Store(store).rollback(), as_json)


@command.command()
def verify(
    artifact: Path = typer.Argument(..., help="Artifact file, or a store folder whose current one is meant."),
    program: str | None = typer.Option(None, help="Program that it is for, package.module:Class."),
    digest: str | None = typer.Option(None, help="Digest that it must have."),
    as_json: bool = _JSON,
) -> None:
    """Check an artifact against its digest, the program's code and the settings. Exit code 1: it is refused.

    Example: slipway artifact verify artifacts/ --program my.module:RAG
    """
    settings = load_settings({"program": program, "artifact_digest": digest})
    from slipway_server.artifacts import Served, resolve
    from slipway_server.artifacts import verify as run
    from slipway_server.runtime.imports import import_program

    report = run(
        resolve(artifact),
        import_program(settings.program),
        digest=settings.artifact_digest,
        served=Served.from_settings(settings),
    )
    if as_json:
        _print_json(_report_values(report))
    else:
        _print_report(report)
    if report.refused:
        raise typer.Exit(1)


@command.command()
def adopt(
    file: Path = typer.Argument(..., help="JSON file that DSPy's save() wrote."),
    program: str | None = typer.Option(None, help="Program that it is for, package.module:Class."),
    store: Path | None = typer.Option(None, help="Folder to write to; default is the file's own."),
    as_json: bool = _JSON,
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
        _print_json({"artifact": str(path), "findings": [_finding_values(finding) for finding in findings]})
        return
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding.message}" + (f"; {finding.remedy}" if finding.remedy else ""))
    typer.echo(f"written: {path}")


def _console() -> Console:
    """Tables are cut to a terminal's width, but not where the output goes to a file or a pipe."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, _WIDTH))


def _print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _print_current(entry: Entry, as_json: bool) -> None:
    if as_json:
        _print_json(_values(entry))
    else:
        typer.echo(f"current: {entry.path}")


def _values(entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "path": str(entry.path), "current": entry.current, "manifest": entry.manifest.values()}


def _finding_values(finding: Any) -> dict[str, str]:
    return {
        "severity": str(finding.severity),
        "check": finding.code,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _report_values(report: Report) -> dict[str, Any]:
    return {
        "artifact": str(report.path),
        "refused": report.refused,
        "findings": [_finding_values(finding) for finding in report.findings],
    }


def _print_report(report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    table = Table(box=None, show_header=False)
    for finding in report.findings:
        severity = Text(finding.severity, colours[finding.severity])
        table.add_row(severity, finding.code, Text(finding.message), Text(finding.remedy))
    _console().print(table)
    typer.echo(f"{report.path.name}: {'refused' if report.refused else 'verified'}")


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    lm, retrieval, optimizer = manifest.lm, manifest.retrieval, manifest.optimizer
    data = ", ".join(f"{use} {item.name} ({item.examples}, {item.digest[:8]})" for use, item in manifest.data.items())
    settings = ", ".join(f"{key}={value}" for key, value in optimizer.settings.items())
    versions = manifest.versions
    facts = [
        ("digest", manifest.digest),
        ("program", manifest.program),
        ("created", f"{manifest.created:%Y-%m-%d %H:%M} UTC, code {manifest.code.label}"),
        ("optimizer", f"{optimizer.name} {settings} seed {optimizer.seed}" if settings else optimizer.name),
        ("data", data),
        ("LM", f"{lm.name}, temperature {lm.temperature}" if lm else ""),
        ("retrieval", f"k {retrieval.k}, {retrieval.collection_version}, {retrieval.embedder}" if retrieval.k else ""),
        ("versions", f"dspy {versions.dspy}, Python {versions.python}, slipway {versions.slipway}"),
        ("parent", manifest.parent),
        *((name, fields) for name, fields in manifest.predictors.items()),
    ]
    for label, scored in (("uncompiled", manifest.uncompiled), ("compiled", manifest.compiled)):
        if scored is not None:
            interval = f"({scored.interval[0]:.3f} to {scored.interval[1]:.3f})"
            facts.append((label, f"{manifest.metric} {scored.score:.3f} {interval}, n = {scored.n}"))
    return [(label, text) for label, text in facts if text]


def _contents(predictor: Any) -> list[tuple[str, str]]:
    if not isinstance(predictor, dict) or "signature" not in predictor:
        return [("", ", ".join(f"{key} = {value}" for key, value in predictor.items()))] if "k" in predictor else []
    demos = predictor["demos"]
    bootstrapped = sum(bool(demo.get("augmented")) for demo in demos)
    return [
        ("instructions", predictor["signature"]["instructions"]),
        ("demos", f"{bootstrapped} bootstrapped, {len(demos) - bootstrapped} labelled"),
    ]
