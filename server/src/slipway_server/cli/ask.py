# SPDX-License-Identifier: Apache-2.0
"""`slipway ask`: one call of a running server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import typer

from slipway_server.cli.output import JSON_OPTION, print_json
from slipway_server.errors import ConfigInvalid, InputWrongType

if TYPE_CHECKING:
    from slipway_client import Prediction, RagAnswer, Receipt, SlipwayClientError

command = typer.Typer(add_completion=False)


@command.command()
def ask(
    question: str = typer.Argument("", help="The question; omit it with --inputs."),
    inputs: str | None = typer.Option(None, help="Inputs as a JSON object, for programs that do not take a question."),
    target: str = typer.Option("localhost:50051", help="host:port of the server, or a gRPC URI."),
    deadline: float = typer.Option(30.0, min=0.001, max=86_400, help="Deadline in seconds."),
    pin: str = typer.Option("", help="Variant or artifact digest that must answer."),
    routing_key: str = typer.Option("", help="End user or session; the same key gets the same variant."),
    bypass_cache: bool = typer.Option(False, "--bypass-cache", help="Neither read the cache nor write to it."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Ask a running server one question, and print the answer, its sources and the receipt.

    Example: slipway ask "Who wrote it?" --target localhost:50051
    """
    from slipway_client import SlipwayClient, SlipwayClientError, Unavailable

    if question and inputs is not None:
        raise ConfigInvalid("slipway ask takes either a question or --inputs")
    fields = None if inputs is None else _object(inputs)
    try:
        with SlipwayClient(target, deadline_seconds=deadline) as client:
            call = partial(client.ask, question) if fields is None else partial(client.predict, fields)
            result = call(pin=pin, routing_key=routing_key, bypass_cache=bypass_cache)
    except SlipwayClientError as error:
        nobody = isinstance(error, Unavailable) and not error.reason
        where = f"no server answers at {target} (--target): " if nobody else ""
        typer.secho(f"slipway: {where}{_one_line(error)}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None
    if as_json:
        print_json(result)
    else:
        _show(result)


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputWrongType(f"--inputs is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputWrongType('--inputs must be a JSON object, such as {"question": "…"}')
    return value


def _one_line(error: SlipwayClientError) -> str:
    facts = [error.reason or error.code.name, f"request {error.request_id}"]
    if error.retry_after is not None:
        facts.append(f"retry after {error.retry_after:g} s")
    return f"{' '.join(str(error).split())} ({', '.join(facts)})"


def _show(result: RagAnswer | Prediction) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from slipway_client import RagAnswer

    console = Console()
    if isinstance(result, RagAnswer):
        console.print(Text(result.answer, style="bold"))
        outputs: Mapping[str, Any] = {"reasoning": result.reasoning} if result.reasoning else {}
    else:
        outputs = result.outputs
    for title, rows in (
        ("", _outputs(outputs)),
        ("citations", _citations(result.receipt)),
        ("receipt", _receipt(result.receipt)),
    ):
        table = Table(box=None, show_header=False, title=title or None, title_justify="left", title_style="dim")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        if table.row_count:
            console.print(table)


def _outputs(outputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(outputs.items()):
        yield name, value if isinstance(value, str) else orjson.dumps(value).decode()


def _citations(receipt: Receipt) -> Iterator[tuple[str, ...]]:
    for number, citation in enumerate(receipt.citations, 1):
        yield str(number), citation.title, f"{citation.score:.3f}", citation.passage_id


def _receipt(receipt: Receipt) -> Iterator[tuple[str, str]]:
    artifact = f"{receipt.artifact} ({receipt.artifact_digest[:12]})" if receipt.artifact_digest else "none: uncompiled"
    yield "artifact", f"{artifact}, {receipt.variant}"
    no_lm = ", no language model" if receipt.model.startswith("offline/") else ""
    yield "model", f"{receipt.model}{no_lm}"
    yield "cache", receipt.cache or "not used"
    yield "calls", f"{receipt.lm_calls}, {receipt.attempts} attempts"
    if receipt.waits_seconds:
        yield "waits", ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in receipt.waits_seconds.items())
    price = "" if receipt.cost_usd is None else f", {receipt.cost_usd:.6f} US dollars"
    yield "tokens", f"{receipt.prompt_tokens} + {receipt.completion_tokens}{price}"
    if receipt.collection_version:
        yield "collection", receipt.collection_version
    yield "time", f"{receipt.elapsed_seconds * 1000:.0f} ms in the server"
    if receipt.server:
        yield "server", receipt.server
    yield "request", receipt.request_id
