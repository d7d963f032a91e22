# SPDX-License-Identifier: Apache-2.0
"""`slipway compile`: a program, examples and an optimizer in; an artifact and an honest comparison out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from slipway_server.cli.output import print_json
from slipway_server.cli.stages import stages
from slipway_server.cli.values import program_named
from slipway_server.config import load_settings
from slipway_server.telemetry import logs

if TYPE_CHECKING:
    from slipway_server.improve.compile import Compilation

command = typer.Typer(add_completion=False)

_OPTIMIZERS = "labeled-few-shot, bootstrap-few-shot, bootstrap-random-search, mipro-v2, simba, gepa or copro."


@command.command("compile")
def compile_(
    train: Path = typer.Option(..., help="Training examples, one JSON object per line with the program's fields."),
    dev: Path = typer.Option(..., help="Examples to compare on; no optimizer sees them."),
    program: str | None = typer.Option(None, help="Program to compile, package.module:Class."),
    optimizer: str = typer.Option("bootstrap-few-shot", help=_OPTIMIZERS),
    set_: list[str] = typer.Option([], "--set", help="Setting of the optimizer, key=value; may be repeated."),
    seed: int = typer.Option(0, help="Seed for the order of the training examples and for the optimizer."),
    metric: str = typer.Option("exact-match", help="exact-match, token-f1, contains, semantic-f1, or module:function."),
    out: Path = typer.Option(Path("artifacts"), help="Store to write the artifact to."),
    bundle: Path | None = typer.Option(None, help="Pack the data into this folder, for `reevaluate` and `recompile`."),
    anchors: Path | None = typer.Option(
        None, help="Examples that guard the judge of live answers; packed into the bundle."
    ),
    promote: bool = typer.Option(False, "--promote", help="Make the artifact the store's current one."),
    collection: str | None = typer.Option(None, help="Collection to retrieve from."),
    lm_model: str | None = typer.Option(None, help="LM, as provider/model."),
    concurrency: int = typer.Option(16, min=1, help="Examples evaluated at once; the LM's limits also apply."),
    log_dir: Path = typer.Option(Path(".slipway/compile"), help="Folder for optimizers' output and GEPA's state."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON; no progress bars."),
) -> None:
    """Compile a program into an artifact, and compare it with the uncompiled program.

    Run the same command again to resume: GEPA continues from its log folder, every other optimizer finds its earlier
    answers in the cache. The comparison itself never uses the cache.

    Example: slipway compile --train train.jsonl --dev dev.jsonl --set max_labeled_demos=4
    """
    settings = load_settings({"program": program, "collection": collection, "lm_model": lm_model})
    logs.configure(settings.log_level, settings.log_format)

    from slipway_server.artifacts import Store
    from slipway_server.evaluation import EvaluatorConfig, metric_named
    from slipway_server.improve import report
    from slipway_server.improve.anchors import anchors_for
    from slipway_server.improve.bundle import pack
    from slipway_server.improve.compile import Plan, check_writable, compile_program
    from slipway_server.improve.data import dataset_for
    from slipway_server.improve.optimizers import parse_settings
    from slipway_server.runtime.session import open_session

    if bundle is not None:
        check_writable(bundle)
    uncompiled = program_named(settings.program)()
    plan = Plan(
        train=dataset_for(uncompiled, train),
        dev=dataset_for(uncompiled, dev),
        optimizer=optimizer,
        metric=metric_named(metric),
        out=out,
        settings=parse_settings(set_),
        seed=seed,
        log_dir=log_dir,
        evaluator=EvaluatorConfig(concurrency=concurrency),
        anchors=anchors_for(uncompiled, anchors) if anchors else None,
    )
    with open_session(settings) as session, stages(quiet=as_json, unit="runs") as progress:
        done = compile_program(session, plan, progress)
    if bundle is not None:
        pack(bundle, train=train, heldout=dev, anchors=anchors)
    if promote:
        Store(out).promote(done.path.name)
    if as_json:
        print_json(report.compilation_values(done), one_line=True)
    else:
        _print(done, promoted=promote)


def _print(done: Compilation, *, promoted: bool) -> None:
    from rich.console import Console

    from slipway_server.improve import report

    Console().print(report.comparison_table(done))
    typer.echo(report.difference_line(done.comparison))
    unusable = f", {done.failed_runs} without a usable answer" if done.failed_runs else ""
    typer.echo(f"{done.runs:,} runs of the program by {done.manifest.optimizer.name}{unusable}")
    typer.echo(f"{'current' if promoted else 'written'}: {done.path}")
