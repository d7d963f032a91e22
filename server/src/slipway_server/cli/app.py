# SPDX-License-Identifier: Apache-2.0
"""The command tree. Each entry names the module that holds the command; it is imported only when it runs."""

from __future__ import annotations

import errno
import importlib
import sys
import traceback
from typing import NoReturn

import typer
from typer.core import TyperGroup

from slipway_server import __version__
from slipway_server.errors import SlipwayError

COMMANDS = {
    "serve": ("slipway_server.cli.serve", "Serve a compiled program over gRPC."),
    "ask": ("slipway_server.cli.ask", "Ask a running server one question."),
    "ingest": ("slipway_server.cli.ingest", "Build a collection from documents."),
    "compile": ("slipway_server.cli.compile", "Compile a program into an artifact."),
    "evaluate": ("slipway_server.cli.evaluate", "Score a program or an artifact."),
    "artifact": ("slipway_server.cli.artifact", "Verify, compare, promote, roll back and change artifacts."),
    "release": ("slipway_server.cli.release", "Ship, promote and roll back an artifact on Kubernetes, with Helm."),
    "traffic": ("slipway_server.cli.traffic", "Show, export and forget recorded answers."),
    "reevaluate": ("slipway_server.cli.reevaluate", "Judge recorded answers and decide whether they got worse."),
    "recompile": ("slipway_server.cli.recompile", "After a DEGRADED verdict: recompile, and gate the result."),
    "cache": ("slipway_server.cli.cache", "Inspect, clean, check and warm the shared cache."),
    "why": ("slipway_server.cli.why", "Tell the story of one request from the logs."),
    "config": ("slipway_server.cli.config", "Print every setting with its value and origin."),
    "simulate-provider": (
        "slipway_server.cli.simulate_provider",
        "Run an OpenAI-compatible provider with real quotas.",
    ),
}
"""Name → module with a `command` (a typer.Typer), and the line in `slipway --help`."""

_VOLUME = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE})
"""What a write says of the volume, not of a file: Python does not know the name."""


class _LazyGroup(TyperGroup):
    """Lists the commands without importing them."""

    def list_commands(self, ctx: object) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> typer.core.TyperCommand | None:
        if cmd_name not in COMMANDS:
            return None
        module, line = COMMANDS[cmd_name]
        if "--help" in sys.argv[1:2] or len(sys.argv) == 1:
            return typer.core.TyperCommand(cmd_name, help=line)
        command = typer.main.get_command(importlib.import_module(module).command)
        command.name = cmd_name
        return command  # type: ignore[return-value]


app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"slipway {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", is_eager=True, callback=_version, help="Show the version."),
) -> None:
    """Compiled DSPy programs in production: ingest, compile, serve, ask."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 a check said no, 2 a mistake or failure, in one line, 3 undecided."""
    try:
        app()
    except SlipwayError as error:
        _end(error.message)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except UnicodeEncodeError as error:  # Python stands in surrogates for the bytes of an argument that are no text
        _end(f"{error.object!r:.100} is no text in UTF-8")
    except Exception as error:
        if isinstance(error, OSError) and (error.filename is not None or error.errno in _VOLUME):
            where = "" if error.filename is None else f"{error.filename}: "
            _end(f"{where}{(error.strerror or type(error).__name__).lower()}")
        traceback.print_exc()  # a fault of ours; Python would end with 1, which is a check's answer
        raise SystemExit(2) from None


def _end(line: str) -> NoReturn:
    typer.secho(f"slipway: {line}", fg=typer.colors.RED, err=True)
    raise SystemExit(2) from None
