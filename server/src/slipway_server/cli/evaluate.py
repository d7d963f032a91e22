# SPDX-License-Identifier: Apache-2.0
"""`slipway evaluate`: the score of a program or an artifact, with its interval."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import orjson
import typer

from slipway_server.cli.stages import stages
from slipway_server.config import load_settings
from slipway_server.telemetry import logs

command = typer.Typer(add_completion=False)


@command.command()
def evaluate(
    dev: Path = typer.Option(..., help="Examples, one JSON object per line with the program's fields."),
    program: str | None = typer.Option(None, help="Program to evaluate, package.module:Class."),
    artifact: Path | None = typer.Option(
        None, help="Artifact file, or a store folder whose current one is meant; without it, the program as it is."
    ),
    metric: str = typer.Option("exact-match", help="exact-match, token-f1, contains, semantic-f1, or module:function."),
    collection: str | None = typer.Option(None, help="Collection to retrieve from."),
    lm_model: str | None = typer.Option(None, help="LM, as provider/model."),
    concurrency: int = typer.Option(16, min=1, help="Examples under way at once; the LM's limits come on top."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON; no progress bar."),
) -> None:
    """Score a program on examples, past the cache: every answer is asked for anew.

    Answers that have not the signature's fields count as 0 (parse errors). What fails for want of the provider or the
    vector store counts for nothing, and above 2 % makes the run void.

    Example: slipway evaluate --artifact artifacts/ --dev dev.jsonl --json | jq .score
    """
    settings = load_settings({"program": program, "artifact": artifact, "collection": collection, "lm_model": lm_model})
    logs.configure(settings.log_level, settings.log_format)

    from slipway_server.artifacts import Served, load, resolve
    from slipway_server.evaluation import EvaluatorConfig, metric_named
    from slipway_server.evaluation import evaluate as run
    from slipway_server.improve import report
    from slipway_server.improve.data import dataset_for
    from slipway_server.runtime.imports import import_program
    from slipway_server.runtime.session import open_session
    from slipway_server.runtime.variants import new_program

    fresh = partial(new_program, import_program(settings.program))
    name, digest, evaluated = "uncompiled", "", None
    if settings.artifact is not None:
        served = Served.from_settings(settings)
        loaded = load(resolve(settings.artifact), fresh, digest=settings.artifact_digest, served=served)
        name, digest, evaluated = loaded.name, loaded.digest, loaded.program
    evaluated = evaluated or fresh()
    examples, scored_by = dataset_for(evaluated, dev).examples, metric_named(metric)
    with open_session(settings) as session, stages(quiet=as_json, unit="examples") as progress:
        result = session.run(
            run(
                session.invoker(evaluated),
                examples,
                scored_by,
                config=EvaluatorConfig(concurrency=concurrency),
                on_progress=lambda done, total: progress("evaluate", done, total),
            )
        )
        collection_version = session.retriever.collection_version
    if as_json:
        facts = {"program": settings.program, "artifact": name, "digest": digest, "model": settings.lm_model}
        values = {**facts, "collection_version": collection_version, **report.evaluation_values(result)}
        typer.echo(orjson.dumps(values).decode())
    else:
        from rich.console import Console

        Console().print(report.evaluation_table(result, name))
