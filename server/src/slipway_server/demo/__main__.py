# SPDX-License-Identifier: Apache-2.0
"""`python -m slipway_server.demo`: documents → compiled program → answers over gRPC, by the commands that a user has.

It needs no key, no server and no network. With a provider configured (SLIPWAY_CONFIG_FILE or the environment) the same
steps run with that provider.
"""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import typer
from rich.console import Console

from slipway_client import SlipwayClient
from slipway_server.config import OFFLINE_MODEL, load_settings
from slipway_server.demo import FOLDER, show
from slipway_server.demo.stage import Stage, StepFailed
from slipway_server.errors import SlipwayError

COLLECTION = "merrin"
COLLECTION_OPTION = ("--collection", COLLECTION)
PROGRAM = "slipway_server.demo.program:Guide"
QUESTIONS = (
    "Which ship of Merrin Ferries is the oldest?",
    "When did the Great Gale strike?",
    "Who looked after the Tide Clock until 2006?",
)
"""Of regression.jsonl, which no optimizer sees."""


def run(
    folder: Path = typer.Option(Path(".slipway/demo"), "--dir", help="Folder to work in; an earlier one's is emptied."),
) -> None:
    """Ingest, compile, serve, ask, stop: Slipway from end to end on this machine.

    Example: python -m slipway_server.demo --dir /tmp/slipway-demo
    """
    started = time.monotonic()
    console = Console(highlight=False)
    settings = load_settings()
    offline = settings.lm_model == OFFLINE_MODEL
    stage = Stage.prepare(folder, SLIPWAY_DRAIN_SECONDS="0.5")
    show.opening(console, settings.lm_model, offline)
    _ingest(console, stage)
    _compile(console, stage)
    _serve_and_ask(console, stage)
    show.closing(console, time.monotonic() - started, folder, PROGRAM, COLLECTION, offline)


def _ingest(console: Console, stage: Stage) -> None:
    show.step(console, 1, "Ingest", "79 passages about islands that do not exist become a versioned collection.")
    show.command(console, "export", f"SLIPWAY_DATA_DIR={stage.folder / 'data'}")
    _typed(console, stage, "ingest", "--corpus", _shown("corpus.jsonl"), *COLLECTION_OPTION)


def _compile(console: Console, stage: Stage) -> None:
    show.step(
        console,
        2,
        "Compile",
        "The program is plain DSPy. Its signature does not say that answers should be short, so the uncompiled program "
        "quotes whole sentences. The optimizer adds examples to the prompt. Both versions then answer new questions.",
    )
    data = ("--train", _shown("train.jsonl"), "--dev", _shown("dev.jsonl"))
    how = ("--optimizer", "labeled-few-shot", "--set", "k=8", "--metric", "token-f1")
    where = ("--out", str(stage.folder / "artifacts"), "--promote", "--log-dir", str(stage.folder / "compile"))
    _typed(console, stage, "compile", "--program", PROGRAM, *COLLECTION_OPTION, *data, *how, *where)


def _serve_and_ask(console: Console, stage: Stage) -> None:
    show.step(
        console,
        3,
        "Serve",
        "The server is a separate process: it verifies the artifact, does a dry run, then takes calls.",
    )
    words = ("--program", PROGRAM, "--artifact", str(stage.folder / "artifacts"), *COLLECTION_OPTION)
    show.command(console, "slipway", "serve", *words)
    with stage.serving(*words) as server:
        ready = f"{server.facts['ready_seconds']:.1f} s after the start"
        names = ("target", "program", "artifact", "model", "collection_version")
        show.facts(console, [("ready", ready), *((name.partition("_")[0], str(server.facts[name])) for name in names)])
        _ask(console, str(server.facts["target"]))
        show.step(
            console, 5, "Stop", "On SIGTERM, the server reports NOT_SERVING, finishes its open requests, and exits."
        )
    show.facts(console, [("exit code", str(server.exit_code)), ("took", f"{server.stop_seconds:.1f} s")])
    if server.exit_code != 0:
        raise StepFailed(f"the server ended with {server.exit_code}; see {stage.folder / 'server.log'}")


def _ask(console: Console, target: str) -> None:
    show.step(
        console,
        4,
        "Ask",
        "slipway_client calls over gRPC, with questions that the program has not seen. Not every answer is this good.",
    )
    with SlipwayClient(target) as client:
        for question in QUESTIONS:
            show.answered(console, question, client.ask(question), _expected(question))
        show.answered_again(console, client.ask(QUESTIONS[-1]))


def _typed(console: Console, stage: Stage, *words: str) -> None:
    show.command(console, "slipway", *words)
    stage.run(*words)


def _shown(name: str) -> str:
    """Path of a file of ours, as short as it can be typed here."""
    path, here = FOLDER / name, Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _expected(question: str) -> str:
    pairs = map(orjson.loads, (FOLDER / "regression.jsonl").read_bytes().splitlines())
    return next(str(pair["answer"]) for pair in pairs if pair["question"] == question)


def main() -> None:
    """Exit codes as the `slipway` command's."""
    try:
        typer.run(run)
    except (SlipwayError, StepFailed) as error:
        typer.secho(f"slipway demo: {error}", fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
