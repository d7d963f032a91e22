# SPDX-License-Identifier: Apache-2.0
"""`slipway recompile`: after a DEGRADED verdict, compile anew, pass the gate or not, keep a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.handover import check_publishing, publish_candidate
from slipway_server.cli.output import print_json
from slipway_server.cli.stages import stages
from slipway_server.cli.values import loaded_artifact
from slipway_server.config import Settings, load_settings
from slipway_server.errors import ArtifactRequired, ConfigInvalid
from slipway_server.telemetry import logs

if TYPE_CHECKING:
    from slipway_server.artifacts import LoadedArtifact
    from slipway_server.improve.recompile import RecompilePlan

command = typer.Typer(add_completion=False)


@command.command()
def recompile(
    bundle: Path = typer.Option(..., help="Data bundle that the artifact was compiled with."),
    artifact: Path | None = typer.Option(None, help="The incumbent, or a store (its current artifact)."),
    program: str | None = typer.Option(None, help="Program, package.module:Class."),
    optimizer: str | None = typer.Option(None, help="Optimizer; default is the artifact's, with its settings."),
    set_: list[str] = typer.Option([], "--set", help="Setting of the optimizer, key=value; may be repeated."),
    seed: int = typer.Option(0, help="Seed for the order of the training examples and for the optimizer."),
    metric: str | None = typer.Option(None, help="Metric; default is the artifact's."),
    out: Path | None = typer.Option(None, help="Store for the candidate; default is the artifact's folder."),
    max_calls: int | None = typer.Option(None, min=1, help="Maximum number of LM calls, all stages together."),
    max_cost_usd: float | None = typer.Option(None, min=0, help="Maximum cost in US dollars; needs SLIPWAY_LM_PRICES."),
    emergency: bool = typer.Option(
        False,
        "--emergency-non-inferiority",
        help="Pass a candidate that is not worse by 2 points. For emergencies; see docs.",
    ),
    other_bundle: bool = typer.Option(False, "--other-bundle", help="Use data that the artifact does not name."),
    force: bool = typer.Option(False, "--force", help="Recompile without a DEGRADED verdict."),
    publish: bool = typer.Option(False, "--publish", help="In a cluster: publish the candidate as a ConfigMap."),
    concurrency: int = typer.Option(16, min=1, help="Examples evaluated at once; the LM's limits also apply."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON; no progress bars."),
) -> None:
    """Recompile a degraded artifact and compare the result with it on held-out examples.

    Only after a DEGRADED verdict of `slipway reevaluate`, once per alarm. PASS writes a candidate to the store, never
    the current artifact. The exit code is 0 for PASS, 3 for INCONCLUSIVE and 1 otherwise.

    Example: slipway recompile --artifact artifacts/ --bundle bundle/ --max-calls 5000
    """
    settings = load_settings({"artifact": artifact, "program": program})
    logs.configure(settings.log_level, settings.log_format)
    options: dict[str, Any] = {
        "optimizer": optimizer,
        "set_": set_,
        "seed": seed,
        "metric": metric,
        "out": out,
        "max_calls": max_calls,
        "max_cost_usd": max_cost_usd,
        "emergency": emergency,
        "other_bundle": other_bundle,
        "force": force,
        "concurrency": concurrency,
    }
    if max_cost_usd is not None and settings.lm_prices is None:
        raise ConfigInvalid("--max-cost-usd needs SLIPWAY_LM_PRICES: no cost is known", key="SLIPWAY_LM_PRICES")
    release = check_publishing(settings) if publish else ""
    result = run(settings, bundle, quiet=as_json, **options)
    if as_json:
        print_json(result, one_line=True)
    else:
        show(result, here=not publish)
    if result["verdict"] == "PASS" and release:
        publish_candidate(settings, release, result, quiet=as_json)
    if result["verdict"] != "PASS":
        raise typer.Exit(3 if result["verdict"] == "INCONCLUSIVE" else 1)


def run(settings: Settings, bundle: Path, *, quiet: bool, force: bool = False, **options: Any) -> dict[str, Any]:
    """Recompile after the newest alarm; returns the gate's result, or why nothing was done. Raises SlipwayError."""
    from slipway_server.improve.claims import beating
    from slipway_server.improve.places import load, loop_folder
    from slipway_server.improve.recompile import recompile
    from slipway_server.improve.results import gate_path, newest_trigger, result_values, store_result, uses_of
    from slipway_server.runtime.session import open_session

    incumbent = _incumbent(settings)
    loop = loop_folder(settings)
    trigger = newest_trigger(loop, incumbent.digest)
    if trigger is None and not force:
        words = "no DEGRADED verdict of this artifact stands; `slipway reevaluate` gives one, or --force"
        return {"verdict": "NOT_DEGRADED", "words": words}
    window = trigger["recompile"]["window"] if trigger else "forced"
    kept = gate_path(loop, incumbent.digest, window)
    done: dict[str, Any] | None = None if force else load(kept)
    if done is not None:
        return {**done, "words": f"done already after the alarm of {window}: {done['words']}", "repeated": True}
    alive = beating(loop, incumbent.digest, window) if trigger else nullcontext()
    with alive, open_session(settings) as session, stages(quiet=quiet, unit="runs") as progress:
        plan = _plan(settings, incumbent, bundle, trigger, loop, **options)
        uses = uses_of(loop, plan.heldout.digest) + 1
        result = result_values(recompile(session, plan, progress), plan, uses)
    store_result(kept if not force else kept.with_name(f"{kept.stem}-{result['candidate']['digest'][:8]}.json"), result)
    return result


def _incumbent(settings: Settings) -> LoadedArtifact:
    loaded = loaded_artifact(settings)
    if loaded is None:
        raise ArtifactRequired("no artifact is named: --artifact says which one is served")
    return loaded


def _plan(
    settings: Settings,
    incumbent: LoadedArtifact,
    folder: Path,
    trigger: dict[str, Any] | None,
    loop: Path,
    *,
    optimizer: str | None = None,
    set_: Sequence[str] = (),
    seed: int = 0,
    metric: str | None = None,
    out: Path | None = None,
    max_calls: int | None = None,
    max_cost_usd: float | None = None,
    emergency: bool = False,
    other_bundle: bool = False,
    concurrency: int = 16,
) -> RecompilePlan:
    from slipway_server.evaluation import EvaluatorConfig, metric_named
    from slipway_server.improve.budget import Budget
    from slipway_server.improve.bundle import Bundle
    from slipway_server.improve.data import dataset_for
    from slipway_server.improve.labels import labelled
    from slipway_server.improve.optimizers import parse_settings
    from slipway_server.improve.recompile import RecompilePlan
    from slipway_server.traffic import read_feedback

    bundle, manifest = Bundle.open(folder), incumbent.manifest
    if not other_bundle:
        bundle.check(manifest)
    same = optimizer in (None, manifest.optimizer.name)
    heldout = dataset_for(incumbent.program, bundle.heldout)
    anchors = dataset_for(incumbent.program, bundle.anchors).examples if bundle.anchors else []
    feedback = read_feedback(settings.traffic_dir) if settings.traffic_dir else []
    return RecompilePlan(
        incumbent=incumbent,
        train=dataset_for(incumbent.program, bundle.train),
        heldout=heldout,
        feedback=labelled(feedback, incumbent.program, [*heldout.examples, *anchors]),
        optimizer=optimizer or manifest.optimizer.name,
        settings=parse_settings(set_) or (dict(manifest.optimizer.settings) if same else {}),
        seed=seed,
        metric=metric_named(metric or manifest.metric),
        out=out or incumbent.path.parent,
        rejected=loop / "rejected",
        trigger=trigger,
        emergency=emergency,
        budget=Budget(max_calls, max_cost_usd),
        evaluator=EvaluatorConfig(concurrency=concurrency),
    )


def show(result: dict[str, Any], *, here: bool = True) -> None:
    """Print a result in words; `here`: with the commands that make a candidate live on this machine."""
    colour = {"PASS": typer.colors.GREEN, "FAIL": typer.colors.RED}.get(result["verdict"])
    typer.secho(f"{result['verdict']}: {result['words']}", fg=colour)
    if "comparison" not in result:
        return
    from slipway_server.improve.results import RETIRE_AFTER

    n, low_high = result["comparison"]["n"], result["comparison"]["interval"]
    typer.echo(
        f"held out, n = {n}: incumbent {result['incumbent']['score']:.3f}, "
        f"candidate {result['candidate']['score']:.3f}, difference {result['comparison']['difference']:+.3f} "
        f"({low_high[0]:+.3f} to {low_high[1]:+.3f})"
    )
    typer.echo(f"{n} examples find a difference of {result['detectable']:.3f} with 80 % power; path: {result['path']}")
    typer.echo(f"{result['lm_calls']:,} LM calls; {result['feedback']} labelled examples from feedback")
    if result["heldout_uses"] >= RETIRE_AFTER:
        typer.echo(f"the held-out set has served {result['heldout_uses']} gates: replace it")
    typer.echo(f"{'candidate' if result['verdict'] == 'PASS' else 'kept for a look'}: {result['file']}")
    if result["verdict"] == "PASS" and here:
        from slipway_server.improve.handover import commands

        typer.echo("\n".join(["next:", *(f"  {line}" for line in commands(result))]))
