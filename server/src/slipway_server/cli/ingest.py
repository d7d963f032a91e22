# SPDX-License-Identifier: Apache-2.0
"""`slipway ingest`: make or replace a collection from documents, or publish a server's as an embedded one."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import typer

from slipway_server.cli.output import print_json
from slipway_server.cli.stages import stages
from slipway_server.config import load_settings
from slipway_server.errors import ConfigInvalid

if TYPE_CHECKING:
    from slipway_server.config import Settings
    from slipway_server.retrieval.ingest import Summary

command = typer.Typer(add_completion=False)


@command.command()
def ingest(
    corpus: str | None = typer.Option(
        None, help="A .jsonl file ({id?, title?, text} per line), a folder of .txt and .md files, or a dataset's name."
    ),
    collection: str | None = typer.Option(None, help="Name of the collection; default SLIPWAY_COLLECTION."),
    append: bool = typer.Option(False, "--append", help="Add to the collection; without this, the corpus replaces it."),
    from_server: bool = typer.Option(
        False, "--from-server", help="Publish the Qdrant server's collection as an embedded one; needs no corpus."
    ),
    split: str | None = typer.Option(None, help="Split, if the corpus is a Hugging Face dataset."),
    field: str = typer.Option("text", help="Field with the text; a list is joined by spaces."),
    title_field: str = typer.Option("title", help="Field with the title."),
    id_field: str = typer.Option("id", help="Field with the document's id."),
    min_chars: int = typer.Option(100, min=0, help="Drop chunks of this many characters or fewer."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON; no progress bar."),
) -> None:
    """Build a new version of a collection from documents, and switch to it once it is complete.

    Ingesting the same corpus again changes nothing; a run that was killed resumes where it stopped.

    Example: slipway ingest --corpus docs.jsonl --collection docs
    """
    from slipway_server.retrieval.chunking import Chunking
    from slipway_server.retrieval.corpus import Fields, read
    from slipway_server.retrieval.ingest import run

    settings = load_settings({"collection": collection})
    if from_server == (corpus is not None):
        raise ConfigInvalid("slipway ingest takes either --corpus or --from-server")
    if from_server:
        summary = _publish(settings)
    else:
        documents = read(str(corpus), split=split, fields=Fields(field, title_field, id_field))
        chunking = Chunking(min_chars=min_chars)
        with stages(quiet=as_json, unit="passages") as report:
            progress = partial(report, "ingest")
            summary = asyncio.run(run(settings, documents, append=append, chunking=chunking, progress=progress))
    if as_json:
        print_json(summary.as_json(), one_line=True)
    else:
        typer.echo(_sentence(summary))


def _publish(settings: Settings) -> Summary:
    from slipway_server.retrieval.snapshot import publish_from_server

    return asyncio.run(publish_from_server(settings))


def _sentence(summary: Summary) -> str:
    made_with = f"{summary.embedder}, {summary.dimension} dimensions" if summary.dimension else summary.embedder
    if not summary.changed:
        return f"{summary.version} is up to date: {summary.passages:,} passages, {made_with}"
    return (
        f"{summary.version}: {summary.passages:,} passages of {summary.documents:,} documents, {made_with}, "
        f"{summary.seconds:.1f} s\n"
        f"{summary.embedded:,} embedded, {summary.reused:,} reused, {summary.dropped:,} chunks too short and dropped "
        f"({summary.documents_dropped:,} whole documents), {summary.duplicates:,} duplicates"
    )
