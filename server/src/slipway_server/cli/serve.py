# SPDX-License-Identifier: Apache-2.0
"""`slipway serve`: a compiled program behind gRPC, until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from slipway_server import loop
from slipway_server.cli.output import print_json
from slipway_server.config import OFFLINE_MODEL, Settings, load_settings
from slipway_server.telemetry import logs

if TYPE_CHECKING:
    from slipway_server.runtime.types import Serving
    from slipway_server.serving.server import Server

YOUNG_OBJECTS = 10_000
"""New objects after which Python looks for garbage in cycles, through all that the requests under way hold.

Its own 700 are soon made by 50 of them.
"""

command = typer.Typer(add_completion=False)


@command.command()
def serve(
    program: str | None = typer.Option(None, help="Program to serve, package.module:Class."),
    artifact: Path | None = typer.Option(None, help="Artifact file, or a store folder (its current artifact)."),
    allow_uncompiled: bool = typer.Option(False, "--allow-uncompiled", help="Serve without an artifact."),
    collection: str | None = typer.Option(None, help="Collection to retrieve from."),
    lm_model: str | None = typer.Option(None, help="LM, as provider/model."),
    host: str | None = typer.Option(None, help="Address to listen on."),
    port: int | None = typer.Option(None, help="Port for gRPC; 0 takes a free one."),
    metrics_port: int | None = typer.Option(None, help="Port for /ready, /live and /metrics; 0 takes a free one."),
    as_json: bool = typer.Option(False, "--json", help="When ready, print the addresses as one line of JSON."),
) -> None:
    """Serve a compiled program over gRPC. Options override the configuration; `slipway config` lists all of it.

    It reports SERVING after a dry run, and on SIGTERM finishes the requests that it has accepted.

    Example: slipway serve --artifact artifacts/ --port 50051
    """
    started = time.monotonic()
    settings = load_settings(
        {
            "program": program,
            "artifact": artifact,
            "allow_uncompiled": allow_uncompiled or None,
            "collection": collection,
            "lm_model": lm_model,
            "host": host,
            "grpc_port": port,
            "metrics_port": metrics_port,
        }
    )
    logs.configure(settings.log_level, settings.log_format)
    announce = partial(_announce_json if as_json else _announce, settings, started)
    loop.run(_serve(settings, announce))


async def _serve(settings: Settings, announce: Callable[[Serving, Server], None]) -> None:
    from slipway_server.lm.bridge import OwnerLoop
    from slipway_server.runtime.service import open_service
    from slipway_server.serving.config import ServingConfig
    from slipway_server.serving.lifecycle import run, stop_on_signals
    from slipway_server.traffic.hooks import recording

    logs.adopt("dspy")
    stop = asyncio.Event()
    with stop_on_signals(stop):
        owner = OwnerLoop.of_running_loop()
        async with recording(settings) as (recorder, feedback):
            opened = await open_service(settings, owner, recorder=recorder, feedback=feedback)
            async with aclosing(opened) as service:
                config = ServingConfig.from_settings(settings)

                def serving(server: Server) -> None:
                    gc.freeze()  # what is there now stays: a full collection need not look at it, which takes 0.05 s
                    gc.set_threshold(YOUNG_OBJECTS)
                    announce(service.serving(), server)

                await run(service, config, stop, serving)


def _announce(settings: Settings, started: float, serving: Serving, server: Server) -> None:
    stable = serving.variants[0].artifact
    score = f", {stable.metric} {stable.score:.3f}" if stable.score is not None else ""
    compiled = f"{stable.name} (digest {stable.digest[:12]}{score})" if stable.digest else "none: uncompiled"
    model = settings.lm_model
    if model == OFFLINE_MODEL:
        model += " (the built-in extractive reader, which is no language model)"
    address = f"{settings.host}:{server.grpc_port}"
    rows = {
        "gRPC": address,
        "HTTP": f"http://{settings.host}:{server.metrics_port}/ready, /live, /metrics",
        "artifact": compiled,
        "model": model,
        "collection": serving.collection_version or "none",
        "inputs": ", ".join(serving.input_fields),
        "try": f'slipway ask "…" --target {address}',
    }
    lines = [f"slipway: serving {serving.program}, ready after {time.monotonic() - started:.1f} s"]
    typer.echo("\n".join(lines + [f"  {key:<11}{value}" for key, value in rows.items()]))


def _announce_json(settings: Settings, started: float, serving: Serving, server: Server) -> None:
    stable = serving.variants[0].artifact
    line = {
        "ready_seconds": round(time.monotonic() - started, 3),
        "target": f"{settings.host}:{server.grpc_port}",
        "grpc_port": server.grpc_port,
        "metrics_port": server.metrics_port,
        "program": serving.program,
        "artifact": stable.name,
        "digest": stable.digest,
        "model": settings.lm_model,
        "language_model": settings.lm_model != OFFLINE_MODEL,
        "collection_version": serving.collection_version,
    }
    print_json(line, one_line=True)
