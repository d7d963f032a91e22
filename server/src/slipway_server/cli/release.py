# SPDX-License-Identifier: Apache-2.0
"""`slipway release …`: what a shipper runs against a cluster, printed, and with --apply done."""

from __future__ import annotations

from pathlib import Path

import typer

from slipway_server.cli.options import expanded
from slipway_server.cli.release_options import How, Where, helm_for
from slipway_server.cli.release_output import Change, carry_out
from slipway_server.cli.values import check_share
from slipway_server.errors import ConfigInvalid

command = typer.Typer(add_completion=False, no_args_is_help=True)


@command.callback()
def _release() -> None:
    """Change what a release on Kubernetes serves. Each command prints a Helm command; --apply runs it."""


@command.command("ship")
@expanded
def ship_(
    *,
    artifact: Path = typer.Argument(..., help="Artifact file, or a store folder (its current artifact)."),
    where: Where,
    percent: float = typer.Option(10, help="Percentage of routing keys that the candidate answers."),
    name: str = typer.Option("", help="Name of the artifact in the release; default is made from the digest."),
    program: str | None = typer.Option(None, help="Program, package.module:Class; default is the release's."),
    current: Path | None = typer.Option(None, help="Stable's artifact, if the release only says where it is."),
    questions: Path | None = typer.Option(None, help="Questions that callers ask, for the forecast."),
    rpm: float | None = typer.Option(
        None, min=0, max=1e9, help="Questions per minute that callers ask, for the forecast."
    ),
    floor: float | None = typer.Option(None, help="Make the hook evaluate it (the chart's gate.floor)."),
    keep: bool = typer.Option(False, "--keep", help="Keep artifacts in the release that no variant serves."),
    how: How,
) -> None:
    """Make an artifact the candidate of a release: verify it, compare it with stable, forecast the cost, upgrade.

    Exit code 1 if the artifact is refused. The forecast needs --questions and --rpm, and the shared cache.

    Example: slipway release ship artifacts/ --release answers -n search --percent 10 --apply
    """
    check_share("--floor", floor)
    if (questions is None) != (rpm is None):
        raise ConfigInvalid("a forecast needs both --questions and --rpm")
    from slipway_server.cli.release_ship import checked
    from slipway_server.release.plan import ship, weight_of

    weight = weight_of(percent)
    by = helm_for(where, how)
    state = by.state()
    path, report = checked(
        state, artifact, program=program, current=current, questions=questions, rpm=rpm, quiet=how.as_json
    )
    plan = ship(state, path, weight_bps=weight, key=name, floor=floor, keep=keep)
    steps = ("promote", "--percent 50"), ("promote", ""), ("rollback", "")
    carry_out(by, Change(plan, report, [where.command(*step) for step in steps]), how)


@command.command("promote")
@expanded
def promote_(
    *,
    where: Where,
    percent: float = typer.Option(100, help="Percentage for the candidate; at 100 it becomes stable."),
    how: How,
) -> None:
    """Change the candidate's share, which restarts no pod, or make the candidate stable.

    Example: slipway release promote --release answers -n search --percent 50 --apply
    """
    from slipway_server.release.plan import promote, share, weight_of

    weight = weight_of(percent)
    by = helm_for(where, how)
    state = by.state()
    plan = promote(state) if percent == 100 else share(state, weight)
    carry_out(by, Change(plan), how)


@command.command("rollback")
@expanded
def rollback_(where: Where, how: How) -> None:
    """Take the candidate's share away. If there is none, go back to the previous stable artifact.

    After an upgrade that failed, go back to what was live before it.

    Example: slipway release rollback --release answers -n search --apply
    """
    from slipway_server.release.plan import rollback, stop

    by = helm_for(where, how)
    state = by.state()
    plan = stop(state) if state.candidate and state.weight_bps else rollback(by, state)
    carry_out(by, Change(plan), how)
