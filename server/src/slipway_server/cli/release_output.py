# SPDX-License-Identifier: Apache-2.0
"""How the `slipway release` commands end: the words printed, the objects that change shown, or the words run."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.output import console, print_json
from slipway_server.cli.release_options import How

if TYPE_CHECKING:
    from slipway_server.release import Difference, Helm, Plan

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True)
class Change:
    """A plan, what was found out before, and what comes next."""

    plan: Plan
    report: dict[str, Any] = field(default_factory=dict)
    steps: Sequence[str] = ()


def carry_out(helm: Helm, change: Change, how: How) -> None:
    """Print the commands; with --dry-run show what they change, else with --apply run them. Raises HelmFailed."""
    plan = change.plan
    shown = [*([plan.packed.command] if plan.packed else ()), shlex.join(plan.words(helm))]
    values: dict[str, Any] = {**change.report, "action": plan.action, "note": plan.note, "commands": shown}
    if not how.as_json:
        typer.echo("\n".join([f"{plan.action}: {plan.note}", *(f"  {line}" for line in shown)]))
    with tempfile.TemporaryDirectory() as folder:
        runnable = plan.packed_into(Path(folder) / "state.gz.b64")
        if how.dry_run:
            found = _changes(helm, runnable)
            values["objects"] = [{"change": o.change, "kind": o.kind, "name": o.name, "diff": o.lines} for o in found]
            if not how.as_json:
                _show(found)
        elif how.apply:
            helm.apply(runnable.words(helm))
    values["applied"] = how.apply and not how.dry_run
    if how.as_json:
        print_json(values)
    elif values["applied"]:
        typer.echo("\n".join(["done", *(["next:", *(f"  {step}" for step in change.steps)] if change.steps else ())]))
    elif not how.dry_run:
        typer.echo("nothing was changed: --apply runs it, --dry-run shows what it changes")


def _changes(helm: Helm, plan: Plan) -> list[Difference]:
    from slipway_server.release import differences

    after = helm.manifest(plan.revision) if plan.revision is not None else helm.tried(plan.words(helm))
    return differences(helm.manifest(), after)


def _show(found: Sequence[Difference]) -> None:
    from rich.text import Text

    out = console()
    for one in found:
        out.print(Text(f"{one.change}: {one.kind} {one.name}", "bold"))
        for line in one.lines:
            out.print(Text(f"  {line}", _COLOURS.get(line[:1], "dim")))
    if not found:
        out.print("no object changes")
