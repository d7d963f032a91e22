# SPDX-License-Identifier: Apache-2.0
"""`slipway reevaluate`: judge recorded live answers, decide whether they became worse, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.handover import check, degraded
from slipway_server.cli.output import print_json
from slipway_server.cli.stages import stages
from slipway_server.cli.values import loaded_artifact, moment, program_named
from slipway_server.config import Settings, load_settings
from slipway_server.errors import ConfigInvalid
from slipway_server.telemetry import logs

if TYPE_CHECKING:
    from slipway_server.artifacts import LoadedArtifact

command = typer.Typer(add_completion=False)


@command.command()
def reevaluate(
    artifact: Path | None = typer.Option(None, help="The served artifact, or a store (its current artifact)."),
    program: str | None = typer.Option(None, help="Program, package.module:Class."),
    bundle: Path | None = typer.Option(None, help="Data bundle; its anchors guard the judge and explain an alarm."),
    metric: str | None = typer.Option(None, help="Scores answers to the anchors; default is the artifact's metric."),
    judge: str | None = typer.Option(None, help="Scores live answers: groundedness, or module:function."),
    preset: str | None = typer.Option(None, help="daily or weekly."),
    on_degraded: str = typer.Option("print", help="print the next command, run it here, or create a Job (job)."),
    new_baseline: bool = typer.Option(
        False, "--new-baseline", help="Start a new baseline; the old one no longer counts."
    ),
    until: str | None = typer.Option(None, help="Judge windows that ended before this moment, UTC; default is now."),
    concurrency: int = typer.Option(16, min=1, help="Answers judged at once; the LM's limits also apply."),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON; no progress bar."),
) -> None:
    """Re-evaluate the served artifact on recorded answers; run it daily (or weekly) after midnight UTC.

    Each day is judged once. Missed days are made up for. A provider in trouble gives INCONCLUSIVE, and the day is tried
    again. The exit code is 0 whatever the verdict.

    Example: slipway reevaluate --artifact artifacts/ --bundle bundle/ --on-degraded run
    """
    overrides = {"artifact": artifact, "program": program, "judge_metric": judge, "loop_preset": preset}
    settings = load_settings(overrides)
    logs.configure(settings.log_level, settings.log_format)
    check(settings, bundle, on_degraded)
    loaded = loaded_artifact(settings)
    now = time.time() if until is None else moment("--until", until)
    if now > time.time():  # windows without answers would be stored, and be done when the answers come
        raise ConfigInvalid(f"--until {until}: has not come yet")
    report = _round(settings, loaded, bundle, metric, now, concurrency, new_baseline, as_json, on_degraded != "print")
    if as_json:
        print_json(report, one_line=True)
    else:
        _print(report)
    if report["recompile"].get("granted"):
        degraded(settings, report, bundle, on_degraded, quiet=as_json)


def _round(
    settings: Settings,
    loaded: LoadedArtifact | None,
    bundle: Path | None,
    metric: str | None,
    now: float,
    concurrency: int,
    new_baseline: bool,
    quiet: bool,
    may_claim: bool,
) -> dict[str, Any]:
    from slipway_server.evaluation import EvaluatorConfig, metric_named
    from slipway_server.improve.anchors import anchors_for
    from slipway_server.improve.bundle import Bundle
    from slipway_server.improve.decide import PRESETS
    from slipway_server.improve.judging import open_judge
    from slipway_server.improve.places import Places, loop_folder
    from slipway_server.improve.reevaluate import Setup
    from slipway_server.improve.round import run_round
    from slipway_server.runtime.session import open_session
    from slipway_server.traffic import folder_of

    program = loaded.program if loaded else program_named(settings.program)()
    named = metric or (loaded.manifest.metric if loaded else "") or "exact-match"
    anchors = Bundle.open(bundle).anchors if bundle else None
    with open_session(settings) as session, open_judge(session) as judge, stages(quiet=quiet, unit="answers") as shown:
        setup = Setup(
            traffic=folder_of(settings),
            places=Places(loop_folder(settings), loaded.digest if loaded else "", judge.pin.digest),
            preset=PRESETS[settings.loop_preset],
            judge=judge,
            program=program,
            now=now,
            anchors=anchors_for(program, anchors) if anchors else None,
            metric=metric_named(named) if anchors else None,
            evaluator=EvaluatorConfig(concurrency=concurrency, warm_up=False),
        )
        if new_baseline:
            setup.places.retire(f"{now:.0f}")
        return run_round(session, setup, loaded.name if loaded else "", shown, may_claim=may_claim)


def _print(report: dict[str, Any]) -> None:
    colour = {"HEALTHY": typer.colors.GREEN, "DEGRADED": typer.colors.RED}.get(report["verdict"])
    typer.secho(f"{report['verdict']}: {report['reason']}", fg=colour)
    if report["diagnosis"]:
        found = report["diagnosis"]
        typer.echo(f"likely cause: {found['cause']}; {found['words']}; {found['remedy']}")
    if report["guard"]:
        typer.echo(report["guard"]["words"])
    typer.echo(f"{report['judged_now']} answers judged now; {report['preset']['promise']}")
    if report["recompile"]["wanted"]:
        typer.echo(f"recompilation: {report['recompile'].get('reason', 'slipway recompile may run')}")
    typer.echo(f"report: {Path(report['path']).with_suffix('.html')}")
