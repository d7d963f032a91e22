# SPDX-License-Identifier: Apache-2.0
"""`slipway artifact verify` and `sign`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from slipway_server.cli.output import JSON_OPTION, finding_values, print_findings, print_json
from slipway_server.cli.values import program_named
from slipway_server.config import Settings, load_settings
from slipway_server.errors import ConfigInvalid

if TYPE_CHECKING:
    from slipway_server.artifacts import Served


def verify(
    artifact: Path = typer.Argument(..., help="Artifact file, or a store folder (its current artifact)."),
    program: str | None = typer.Option(None, help="Program that it belongs to, package.module:Class."),
    digest: str | None = typer.Option(None, help="Required digest."),
    collection: str | None = typer.Option(None, help="Open this collection, and compare its version and embedder."),
    strict: bool = typer.Option(False, "--strict", help="Refuse on warnings too."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Check an artifact against its digest, its signature, the program's code and the settings.

    Exit code 0: it would be served. 1: it is refused, or with --strict there is a warning. 2: it could not be checked,
    because the program cannot be imported or the configuration is wrong.

    Example: slipway artifact verify artifacts/ --program my.module:RAG
    """
    settings = load_settings({"program": program, "artifact_digest": digest, "collection": collection})
    from slipway_server.artifacts import Served, resolve
    from slipway_server.artifacts import verify as run

    served = _with_collection(settings) if collection else Served.from_settings(settings)
    path = resolve(artifact)
    report = run(path, program_named(settings.program), digest=settings.artifact_digest, served=served)
    refused = report.refused or (strict and report.warned)
    if as_json:
        print_json({"artifact": str(report.path), "refused": refused, "findings": finding_values(report.findings)})
    else:
        print_findings(report.findings)
        typer.echo(f"{report.path.name}: {'refused' if refused else 'verified'}")
    if refused:
        raise typer.Exit(1)


def sign(
    artifact: Path = typer.Argument(..., help="Artifact file, or a store folder (its current artifact)."),
    key: Path = typer.Option(..., help="Ed25519 private key in PEM, not encrypted."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Sign an artifact. The signature goes into the manifest; name and digest stay the same.

    A server with SLIPWAY_ARTIFACT_PUBLIC_KEY or …_FILE loads only what this key's owner has signed.

    Example: openssl genpkey -algorithm ed25519 -out signing.pem && slipway artifact sign artifacts/ --key signing.pem
    """
    from slipway_server.artifacts import resolve, signing

    try:
        private = key.read_bytes()
    except OSError:
        raise ConfigInvalid(f"no key can be read from {key}") from None
    path = resolve(artifact)
    manifest = signing.sign(path, private)
    if as_json:
        print_json({"artifact": str(path), "digest": manifest.digest, "signature": manifest.signature})
    else:
        typer.echo(f"signed: {path} (digest {manifest.digest[:12]})")


def _with_collection(settings: Settings) -> Served:
    """The settings, with the version and embedder of the collection that they name."""
    import asyncio

    from slipway_server.artifacts import Served
    from slipway_server.retrieval import open_retriever

    async def known() -> Served:
        retriever = await open_retriever(settings)
        try:
            return Served.from_settings(
                settings, collection_version=retriever.collection_version, embedder=retriever.embedder_name
            )
        finally:
            await retriever.aclose()

    return asyncio.run(known())
