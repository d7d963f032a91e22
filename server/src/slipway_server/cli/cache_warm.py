# SPDX-License-Identifier: Apache-2.0
"""`slipway cache warm`: ask questions ahead of their callers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.output import print_json
from slipway_server.cli.stages import stages
from slipway_server.config import load_settings
from slipway_server.errors import DatasetInvalid, SlipwayError
from slipway_server.request import RequestContext, TrafficClass
from slipway_server.telemetry import logs

if TYPE_CHECKING:
    from slipway_server.runtime.types import Service


def warm(
    questions: Path = typer.Option(..., help="Inputs (JSON Lines); other fields are ignored."),
    program: str | None = typer.Option(None, help="Program to ask, package.module:Class."),
    artifact: Path | None = typer.Option(None, help="Artifact file, or a store folder (its current artifact)."),
    allow_uncompiled: bool = typer.Option(False, "--allow-uncompiled", help="Ask without an artifact."),
    concurrency: int = typer.Option(8, min=1, help="Questions asked at once."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON; no progress bar."),
) -> None:
    """Ask every question in a file, as batch work, so that the answers are cached when callers ask.

    What is already cached costs nothing. Exit code 1 if some questions could not be answered.

    Example: slipway cache warm --artifact artifacts/ --questions questions.jsonl
    """
    settings = load_settings({"program": program, "artifact": artifact, "allow_uncompiled": allow_uncompiled or None})
    logs.configure(settings.log_level, settings.log_format)
    rows = _read(questions)

    async def run() -> Counter[str]:
        from slipway_server.lm.bridge import OwnerLoop
        from slipway_server.runtime.service import open_service

        service = await open_service(settings, OwnerLoop.of_running_loop())
        try:
            with stages(quiet=as_json, unit="questions") as report:
                return await ask_all(
                    service, rows, concurrency=concurrency, progress=lambda done: report("warm", done, len(rows))
                )
        finally:
            await service.aclose()

    found = asyncio.run(run())
    if as_json:
        print_json(found, one_line=True)
    else:
        typer.echo("\n".join(f"{count:6,} {what}" for what, count in found.most_common()))
    if any(what.startswith("failed") for what in found):
        raise typer.Exit(1)


async def ask_all(
    service: Service, rows: Sequence[Mapping[str, Any]], *, concurrency: int, progress: Callable[[int], None]
) -> Counter[str]:
    """How the rows were answered: counts by cache tier, or by `failed: REASON`."""
    found: Counter[str] = Counter()
    waiting = iter(rows)
    names = service.serving().input_fields

    async def work() -> None:
        for row in waiting:
            context = RequestContext(traffic_class=TrafficClass.BATCH)
            try:
                answer = await service.predict({name: row[name] for name in names if name in row}, context)
                found[answer.receipt.cache] += 1
            except SlipwayError as error:
                found[f"failed: {error.reason}"] += 1
            progress(found.total())

    await asyncio.gather(*[work() for _ in range(concurrency)])
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    from slipway_server.evaluation.datasets import content_of, rows_of

    rows = [row for _, row in rows_of(path, content_of(path))]
    if not rows:
        raise DatasetInvalid(f"{path}: has no questions")
    return rows
