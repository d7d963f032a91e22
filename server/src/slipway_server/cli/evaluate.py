# SPDX-License-Identifier: Apache-2.0
"""`slipway evaluate`: the score of a program or an artifact, with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.output import print_json
from slipway_server.cli.stages import stages
from slipway_server.cli.values import check_share, loaded_artifact, program_named
from slipway_server.config import Settings, load_settings
from slipway_server.telemetry import logs

if TYPE_CHECKING:
    from slipway_server.artifacts import LoadedArtifact
    from slipway_server.evaluation import Dataset, Evaluation, Metric
    from slipway_server.evaluation.floor import FloorResult

command = typer.Typer(add_completion=False)

EXIT_CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
"""Of --floor, by verdict."""


@command.command()
def evaluate(
    dev: Path = typer.Option(..., help="Examples, one JSON object per line with the program's fields."),
    program: str | None = typer.Option(None, help="Program to evaluate, package.module:Class."),
    artifact: Path | None = typer.Option(
        None, help="Artifact file, or a store folder (its current artifact). Without it, the uncompiled program."
    ),
    metric: str = typer.Option("exact-match", help="exact-match, token-f1, contains, semantic-f1, or module:function."),
    collection: str | None = typer.Option(None, help="Collection to retrieve from."),
    lm_model: str | None = typer.Option(None, help="LM, as provider/model."),
    concurrency: int = typer.Option(16, min=1, help="Examples evaluated at once; the LM's limits also apply."),
    floor: float | None = typer.Option(None, help="Verdict against this score, between 0 and 1."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON; no progress bar."),
) -> None:
    """Score a program on examples, bypassing the cache: every answer is requested anew.

    Answers that lack the signature's fields count as 0 (parse errors). Examples that fail because the provider or the
    vector store is unavailable do not count; more than 2 % of them make the run void.

    With --floor, the exit code is 0 for PASS (the 95 % interval lies at or above the floor), 1 for FAIL (below) and 3
    for INCONCLUSIVE (the interval contains the floor; prints how many more examples would settle it), 2 for a void run.

    Example: slipway evaluate --artifact artifacts/ --dev regression.jsonl --floor 0.88
    """
    check_share("--floor", floor)
    settings = load_settings({"program": program, "artifact": artifact, "collection": collection, "lm_model": lm_model})
    logs.configure(settings.log_level, settings.log_format)

    from slipway_server.evaluation import metric_named
    from slipway_server.evaluation.floor import against_floor
    from slipway_server.improve.data import dataset_for

    loaded = loaded_artifact(settings)
    evaluated = loaded.program if loaded else program_named(settings.program)()
    dataset, scored_by = dataset_for(evaluated, dev), metric_named(metric)
    if loaded and "train" in loaded.manifest.data and loaded.manifest.data["train"].digest == dataset.digest:
        typer.echo(f"slipway: the artifact was compiled on {dev.name}, so that its score there says little", err=True)
    result, collection_version = _run(settings, loaded, evaluated, dataset, scored_by, concurrency, quiet=as_json)
    verdict = None if floor is None else against_floor(result.scores, floor)
    if as_json:
        facts = {"program": settings.program, "artifact": "uncompiled", "digest": "", "model": settings.lm_model}
        if loaded:
            facts |= {"artifact": loaded.name, "digest": loaded.digest}
        _print_json({**facts, "collection_version": collection_version}, result, floor, verdict)
    else:
        _print(loaded.name if loaded else "uncompiled", result, verdict)
    if verdict is not None and EXIT_CODES[verdict.verdict]:
        raise typer.Exit(EXIT_CODES[verdict.verdict])


def _run(
    settings: Settings,
    loaded: LoadedArtifact | None,
    program: Any,
    dataset: Dataset,
    metric: Metric,
    concurrency: int,
    *,
    quiet: bool,
) -> tuple[Evaluation, str]:
    """The evaluation and the version of the collection; says where that is not the one compiled with."""
    from slipway_server.artifacts.surroundings import same_collection
    from slipway_server.evaluation import EvaluatorConfig
    from slipway_server.evaluation import evaluate as run
    from slipway_server.runtime.session import open_session

    with open_session(settings) as session, stages(quiet=quiet, unit="examples") as progress:
        result = session.run(
            run(
                session.invoker(program),
                dataset.examples,
                metric,
                config=EvaluatorConfig(concurrency=concurrency),
                on_progress=lambda done, total: progress("evaluate", done, total),
            )
        )
        version, embedder = session.retriever.collection_version, session.retriever.embedder_name
    for finding in same_collection(loaded.manifest.retrieval, version, embedder) if loaded else ():
        typer.echo(f"slipway: the artifact {finding.message}; {finding.remedy}", err=True)
    return result, version


def _print_json(facts: dict[str, str], result: Evaluation, floor: float | None, verdict: FloorResult | None) -> None:
    from slipway_server.improve import report

    values = {**facts, **report.evaluation_values(result)}
    if verdict is not None:
        values |= {"floor": floor, "verdict": verdict.verdict, "needs": verdict.needs}
    print_json(values, one_line=True)


def _print(name: str, result: Evaluation, verdict: FloorResult | None) -> None:
    from rich.console import Console

    from slipway_server.improve import report

    Console().print(report.evaluation_table(result, name))
    if verdict is not None:
        typer.echo(verdict.words)
