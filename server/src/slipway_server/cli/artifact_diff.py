# SPDX-License-Identifier: Apache-2.0
"""`slipway artifact diff`: two artifacts side by side, for a terminal, a pull request or a script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.output import JSON_OPTION, console, print_json
from slipway_server.cli.values import program_named
from slipway_server.config import Settings, load_settings
from slipway_server.errors import OperatorError

if TYPE_CHECKING:
    from slipway_server.artifacts.diff import Change, DemoChange, Diff, PredictorDiff, Side

_SHOWN = 100


def diff(
    before: Path = typer.Argument(..., help="Artifact file, or a store folder (its current artifact)."),
    after: Path = typer.Argument(..., help="The other one."),
    program: str | None = typer.Option(None, help="Program that they belong to; needed to count prompt tokens."),
    markdown: bool = typer.Option(False, "--markdown", help="Print markdown, for a pull request."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Show what differs: score, instructions word by word, demos, fields, tokens and cost.

    Tokens per answer are those that compiling measured. Without these, what every prompt takes before its question is
    estimated, at 4 characters a token, by writing it as the server does; that needs the program's code.

    Example: slipway artifact diff artifacts/ new.json --markdown
    """
    compared = compare(before, after, load_settings({"program": program}))
    if as_json:
        print_json(compared.values())
    elif markdown:
        typer.echo("\n".join(_markdown(compared.found, compared.costs)))
    else:
        compared.show()


@dataclass(frozen=True)
class Compared:
    """Two artifacts side by side, with what their prompts cost."""

    found: Diff
    costs: list[_Cost]

    def show(self) -> None:
        """For a terminal."""
        _print(self.found, self.costs)

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return _values(self.found, self.costs)


def compare(before: Path, after: Path, settings: Settings) -> Compared:
    """Compare two artifacts, or the current ones of stores. Raises Artifact… errors."""
    from slipway_server.artifacts import Served, resolve
    from slipway_server.artifacts.diff import diff as run
    from slipway_server.artifacts.diff import read_side

    served = Served.from_settings(settings)
    sides = [read_side(resolve(path), served=served) for path in (before, after)]
    return Compared(run(*sides), [_cost(side, settings) for side in sides])


@dataclass(frozen=True)
class _Cost:
    """Tokens per answer as measured, and of each prompt before its question as estimated; None where not known."""

    prompt_tokens: float | None
    completion_tokens: float | None
    fixed_tokens: dict[str, int] | None
    prices: tuple[float, float] | None

    @property
    def fixed(self) -> int | None:
        return None if self.fixed_tokens is None else sum(self.fixed_tokens.values())

    @property
    def usd_per_1000(self) -> float | None:
        """Of answers past the cache, as measured."""
        if self.prices is None or self.prompt_tokens is None:
            return None
        return (self.prompt_tokens * self.prices[0] + (self.completion_tokens or 0) * self.prices[1]) / 1000

    @property
    def fixed_usd_per_1000(self) -> float | None:
        """Of the estimated part: one call of each predictor."""
        return None if self.prices is None or self.fixed is None else self.fixed * self.prices[0] / 1000


def _cost(side: Side, settings: Settings) -> _Cost:
    from slipway_server.artifacts import load
    from slipway_server.lm.stack import prices_of
    from slipway_server.runtime.prompts import fixed_tokens

    measured = side.manifest.compiled
    try:
        fixed = fixed_tokens(load(side.path, program_named(settings.program)).program)
    except OperatorError:  # of another program than the one at hand
        fixed = None
    return _Cost(
        measured.prompt_tokens if measured else None,
        measured.completion_tokens if measured else None,
        fixed,
        prices_of(settings.lm_prices),
    )


def _rows(found: Diff, costs: list[_Cost]) -> Iterator[tuple[str, str, str]]:
    yield "artifact", found.before.name, found.after.name
    for fact in found.facts:
        yield fact.label, fact.before or "none", fact.after or "none"
    before, after = costs
    yield _row("tokens per answer, measured", _tokens(before), _tokens(after))
    yield _row("prompt before the question, estimated", _number(before.fixed), _number(after.fixed))
    if before.usd_per_1000 is not None or after.usd_per_1000 is not None:
        yield _row("1,000 answers", _usd(before.usd_per_1000), _usd(after.usd_per_1000))
    else:
        yield _row("1,000 prompts, estimated", _usd(before.fixed_usd_per_1000), _usd(after.fixed_usd_per_1000))


def _row(label: str, before: str, after: str) -> tuple[str, str, str]:
    return label, before, after


def _tokens(cost: _Cost) -> str:
    if cost.prompt_tokens is None:
        return "not measured"
    return f"{cost.prompt_tokens:,.0f} + {cost.completion_tokens or 0:,.0f}"


def _number(value: int | None) -> str:
    return "not known (--program)" if value is None else f"{value:,} tokens"


def _usd(value: float | None) -> str:
    return "not known (SLIPWAY_LM_PRICES)" if value is None else f"${value:,.3f}"


def _demo_lines(predictor: PredictorDiff) -> Iterator[tuple[str, str]]:
    """Sign and text of each demo that is not the same."""
    for change in predictor.demos:
        demo = change.after or change.before or {}
        sign = "~" if change.before and change.after else "+" if change.after else "-"
        yield sign, _demo_text(demo, change)
    kept = f"{predictor.kept} demo{'' if predictor.kept == 1 else 's'} unchanged"
    yield " ", kept + (", in another order" if predictor.reordered else "")


def _demo_text(demo: dict[str, Any], change: DemoChange) -> str:
    from slipway_server.artifacts.diff import is_bootstrapped

    kind = "bootstrapped" if is_bootstrapped(demo) else "labelled"
    shown = "; ".join(f"{name}: {value}" for name, value in demo.items() if isinstance(value, str))
    changed = f", other {', '.join(change.fields)}" if change.fields else ""
    return f"{kind}{changed}: {shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}"


def _plain(changes: tuple[Change, ...]) -> str:
    """As `git diff --word-diff=plain` writes it."""
    marks = {"=": "{}", "-": "[-{}-]", "+": "{{+{}+}}"}
    return "".join(marks[operation].format(text) for operation, text in changes)


def _markdown(found: Diff, costs: list[_Cost]) -> Iterator[str]:
    yield from ("| | before | after |", "| --- | --- | --- |")
    for cells in _rows(found, costs):
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    for predictor in found.predictors:
        yield f"\n**{predictor.name}**{': no difference' if predictor.same else ''}"
        if predictor.same:
            continue
        if predictor.instructions:
            yield from ("\nInstructions:\n", *_fenced(_plain(predictor.instructions)))
        for fact in predictor.fields:
            yield from (f"\n{fact.label}:\n", *_fenced(f"- {fact.before}\n+ {fact.after}", "diff"))
        yield from (
            "\nDemos:\n",
            *_fenced("\n".join(f"{sign} {text}" for sign, text in _demo_lines(predictor)), "diff"),
        )


def _fenced(text: str, language: str = "text") -> tuple[str, str, str]:
    """A code block whose fence the text does not end."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}", text, fence


def _print(found: Diff, costs: list[_Cost]) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"=": "", "-": "red strike", "+": "green", "~": "yellow", " ": "dim"}
    out = console()
    table = Table("", "before", "after", box=None, header_style="bold")
    for cells in _rows(found, costs):
        table.add_row(*(Text(cell) for cell in cells))
    out.print(table)
    for predictor in found.predictors:
        out.print(Text(f"\n{predictor.name}" + (": no difference" if predictor.same else ""), "bold"))
        if predictor.same:
            continue
        if predictor.instructions:
            coloured = out.is_terminal and not out.no_color
            text = Text.assemble(*((part.text, styles[part.operation]) for part in predictor.instructions))
            out.print("  instructions:", text if coloured else Text(_plain(predictor.instructions)))
        for fact in predictor.fields:
            out.print(Text(f"  {fact.label}:\n    - {fact.before}\n    + {fact.after}"))
        for sign, line in _demo_lines(predictor):
            out.print(Text(f"  {sign} {line}", styles[sign if sign in styles else "="]))


def _values(found: Diff, costs: list[_Cost]) -> dict[str, Any]:
    def side(one: Side, cost: _Cost) -> dict[str, Any]:
        measured = one.manifest.compiled
        return {
            "artifact": str(one.path),
            "digest": one.manifest.digest,
            "metric": one.manifest.metric,
            "score": measured.score if measured else None,
            "interval": list(measured.interval) if measured else None,
            "prompt_tokens": cost.prompt_tokens,
            "completion_tokens": cost.completion_tokens,
            "usd_per_1000": cost.usd_per_1000,
            "estimated": {"fixed_tokens": cost.fixed_tokens, "usd_per_1000": cost.fixed_usd_per_1000},
        }

    return {
        "before": side(found.before, costs[0]),
        "after": side(found.after, costs[1]),
        "facts": [_fact(fact) for fact in found.facts],
        "predictors": [
            {
                "name": one.name,
                "same": one.same,
                "instructions": [{"operation": part.operation, "text": part.text} for part in one.instructions],
                "fields": [_fact(fact) for fact in one.fields],
                "demos": [
                    {"before": demo.before, "after": demo.after, "fields": list(demo.fields)} for demo in one.demos
                ],
                "demos_kept": one.kept,
                "demos_reordered": one.reordered,
            }
            for one in found.predictors
        ],
    }


def _fact(fact: Any) -> dict[str, str]:
    return {"label": fact.label, "before": fact.before, "after": fact.after}
