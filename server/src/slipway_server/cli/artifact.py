# SPDX-License-Identifier: Apache-2.0
"""`slipway artifact …`: the store here, checks and changes in modules of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import typer

from slipway_server.cli.artifact_change import adopt, migrate
from slipway_server.cli.artifact_check import sign, verify
from slipway_server.cli.artifact_diff import diff
from slipway_server.cli.artifact_forecast import forecast
from slipway_server.cli.output import JSON_OPTION, console, print_json

if TYPE_CHECKING:
    from slipway_server.artifacts import Entry, Manifest, Store

command = typer.Typer(add_completion=False, no_args_is_help=True)

_STORE = typer.Option(Path("artifacts"), "--store", help="Folder of the artifacts.")


@command.callback()
def _artifact() -> None:
    """Verify, compare, promote and change artifacts. Name one by its path, or by the start of its name or digest."""


@command.command("list")
def list_(store: Path = _STORE, as_json: bool = JSON_OPTION) -> None:
    """List the artifacts of a store, newest first.

    Example: slipway artifact list --store artifacts
    """
    from slipway_server.artifacts import Store

    entries = Store(store).list()
    if as_json:
        print_json([_values(entry) for entry in entries])
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
        console().print(table)
    else:
        typer.echo(f"no artifacts in {store}")


@command.command()
def show(
    artifact: str | None = typer.Argument(None, help="Artifact, or another store; default is the store's current one."),
    store: Path = _STORE,
    as_json: bool = JSON_OPTION,
) -> None:
    """Show one artifact: its origin, scores, instructions and demos.

    Example: slipway artifact show 3f2a91c0
    """
    from slipway_server.artifacts.diff import read_side
    from slipway_server.artifacts.files import read_pair

    place, reference = _found(artifact or str(store), store)
    entry = place.find(reference)
    side = read_side(entry.path)
    if as_json:
        print_json({**_values(entry), "state": orjson.loads(read_pair(entry.path).state)})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False)
    for label, value in _facts(entry.manifest):
        table.add_row(Text(label, "bold"), Text(value))
    for name, other in side.others.items():
        table.add_row(Text(name, "bold"), Text(", ".join(f"{key} = {value}" for key, value in other.items())))
    for name, predictor in side.predictors.items():
        for label, text in _contents(predictor):
            table.add_row(Text(f"{name} {label}", "bold"), Text(text))
    typer.echo(entry.name + (" (current)" if entry.current else ""))
    console().print(table)


@command.command()
def promote(
    artifact: str = typer.Argument(..., help="Artifact."), store: Path = _STORE, as_json: bool = JSON_OPTION
) -> None:
    """Make an artifact the store's current one.

    Example: slipway artifact promote 3f2a91c0
    """
    place, reference = _found(artifact, store)
    _print_current(place.promote(reference), as_json)


@command.command()
def rollback(store: Path = _STORE, as_json: bool = JSON_OPTION) -> None:
    """Make the previous artifact current again.

    Example: slipway artifact rollback
    """
    from slipway_server.artifacts import Store

    _print_current(Store(store).rollback(), as_json)


for check_or_change in (verify, sign, adopt, migrate, diff, forecast):
    command.command()(check_or_change)


def _found(artifact: str, store: Path) -> tuple[Store, str]:
    """The store that `artifact` is in, and what it is called there: a path says both, anything else is of `store`."""
    from slipway_server.artifacts import Store, resolve

    path = Path(artifact)
    if path.exists():
        file = resolve(path)
        return Store(file.parent), file.name
    return Store(store), artifact


def _print_current(entry: Entry, as_json: bool) -> None:
    if as_json:
        print_json(_values(entry))
    else:
        typer.echo(f"current: {entry.path}")


def _values(entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "path": str(entry.path), "current": entry.current, "manifest": entry.manifest.values()}


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


def _contents(predictor: dict[str, Any]) -> list[tuple[str, str]]:
    from slipway_server.artifacts.diff import is_bootstrapped

    demos = predictor["demos"]
    bootstrapped = sum(map(is_bootstrapped, demos))
    return [
        ("instructions", predictor["signature"]["instructions"]),
        ("demos", f"{bootstrapped} bootstrapped, {len(demos) - bootstrapped} labelled"),
    ]
