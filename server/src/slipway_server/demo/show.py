# SPDX-License-Identifier: Apache-2.0
"""What the demonstration prints: steps, answers with citations and receipts, and how to go on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from slipway_client import RagAnswer, Receipt
from slipway_server.config import FILE_KEY

LOCAL_MODELS = """\
ollama pull qwen3-embedding:0.6b
llama-server -hf unsloth/gemma-3-4b-it-GGUF:Q4_K_M --ctx-size 16384 --parallel 4 --port 8080 &
cat > local.env <<'END'
SLIPWAY_LM_MODEL=openai/unsloth/gemma-3-4b-it-GGUF:Q4_K_M
SLIPWAY_LM_BASE_URL=http://localhost:8080/v1
SLIPWAY_LM_TEMPERATURE=0.1
SLIPWAY_LM_MAX_CONCURRENCY=4
SLIPWAY_EMBEDDING_MODEL=openai/qwen3-embedding:0.6b
SLIPWAY_EMBEDDING_BASE_URL=http://localhost:11434/v1
SLIPWAY_EMBEDDING_DIMENSION=1024
END
SLIPWAY_CONFIG_FILE=local.env make demo"""
"""The lines of README.md, With a real model; a test compares them."""


def opening(console: Console, model: str, offline: bool) -> None:
    """What is going to happen, and what answers."""
    answering = (
        f"[bold]{model} is not a language model.[/] It is a built-in algorithm that quotes from passages, so that "
        "everything runs here without a key, a server or a network. The last lines show how to use a real model."
        if offline
        else f"Questions are answered by [bold]{model}[/], as you configured it."
    )
    text = f"From documents and examples to a compiled program that answers over gRPC.\n\n{answering}"
    console.print(Panel(text, title="[bold]Slipway[/]", border_style="blue", padding=(1, 2)))


def step(console: Console, number: int, title: str, why: str) -> None:
    """The heading of a step."""
    console.print()
    console.print(Rule(f"[bold]{number}  {title}[/]", align="left", style="blue"))
    console.print(f"[dim]{why}[/]")


def command(console: Console, *words: str) -> None:
    """A command as one would type it."""
    console.print(Text("$ " + shlex.join(words), style="bold green"), soft_wrap=True)


def answered(console: Console, question: str, result: RagAnswer, expected: str) -> None:
    """A question with its answer, what it rests on, and the receipt."""
    console.print()
    facts(
        console,
        [
            ("question", question),
            ("answer", Text(result.answer, style="bold")),
            ("expected", expected),
            ("citations", " · ".join(f"{citation.title} ({citation.score:.2f})" for citation in result.citations)),
            ("receipt", Group(*map(Text, _receipt(result.receipt)))),
        ],
    )


def answered_again(console: Console, result: RagAnswer) -> None:
    """What the cache makes of the same question."""
    console.print()
    facts(console, [("again", Text(result.answer, style="bold")), ("receipt", _cost(result.receipt))])


def facts(console: Console, rows: Sequence[tuple[str, str | Text | Group]]) -> None:
    """Names and values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right", no_wrap=True, min_width=10)
    table.add_column()
    for name, value in rows:
        table.add_row(name, Text(value) if isinstance(value, str) else value)
    console.print(table)


def closing(console: Console, seconds: float, folder: Path, program: str, collection: str, offline: bool) -> None:
    """How long it took, and what to type next."""
    console.print()
    console.print(Rule(f"[bold]Done in {seconds:.0f} s[/]", align="left", style="blue"))
    configured = f"export {FILE_KEY}={shlex.quote(os.environ[FILE_KEY])}\n" if FILE_KEY in os.environ else ""
    data, artifacts = (shlex.quote(str(folder / name)) for name in ("data", "artifacts"))
    console.print(f"Everything is in {folder}. Serve it yourself, and ask in a second terminal:\n")
    _typed(
        console,
        f"source .venv/bin/activate\n"
        f"{configured}export SLIPWAY_DATA_DIR={data}\n"
        f"slipway serve --program {program} --artifact {artifacts} --collection {collection}\n"
        'slipway ask "Who discovered Comet Strand?"',
    )
    if offline:
        console.print("\nTo run this with a language model on your own machine, with Ollama and llama.cpp:\n")
        _typed(console, LOCAL_MODELS)
        console.print("\n[dim]For vLLM or OpenAI, see docs/providers.md.[/]")


def _typed(console: Console, text: str) -> None:
    if console.is_terminal:
        console.print(Syntax(text, "bash", background_color="default", word_wrap=True))
    else:
        console.print(Text(text), soft_wrap=True)


def _receipt(receipt: Receipt) -> list[str]:
    no_lm = ", which is no language model" if receipt.model.startswith("offline/") else ""
    return [
        f"{receipt.variant}: {receipt.artifact}",
        f"digest {receipt.artifact_digest[:16]}… · collection {receipt.collection_version}",
        f"model {receipt.model}{no_lm}",
        _cost(receipt),
    ]


def _cost(receipt: Receipt) -> str:
    waits = [f"waited {seconds:.2f} s ({kind})" for kind, seconds in receipt.waits_seconds.items() if seconds >= 0.005]
    cost = [] if receipt.cost_usd is None else [f"{receipt.cost_usd:.6f} US dollars"]
    return " · ".join(
        [
            f"cache {receipt.cache}",
            f"calls {receipt.lm_calls}",
            f"attempts {receipt.attempts}",
            *waits,
            f"tokens {receipt.prompt_tokens} + {receipt.completion_tokens}",
            *cost,
            f"{receipt.elapsed_seconds * 1000:.1f} ms",
        ]
    )
