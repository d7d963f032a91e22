# SPDX-License-Identifier: Apache-2.0
"""`slipway release …`: what a shipper runs against a cluster, printed, and with --apply done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from slipway_server.cli.release_output import Change, carry_out
from slipway_server.config import load_settings
from slipway_server.errors import ConfigInvalid

if TYPE_CHECKING:
    from slipway_server.release import Helm

command = typer.Typer(add_completion=False, no_args_is_help=True)

_RELEASE = typer.Option(..., "--release", help="Name of the Helm release.")
_NAMESPACE = typer.Option("", "--namespace", "-n", help="Its namespace; default is that of Helm's context.")
_CHART = typer.Option(None, "--chart", help="The chart, as Helm takes it; default is SLIPWAY_LOOP_CHART.")
_HELM = typer.Option("helm", "--helm", help="Helm's command.")
_TIMEOUT = typer.Option("10m", "--timeout", help="How long Helm waits for the pods.")
_APPLY = typer.Option(False, "--apply", help="Run the command that is printed.")
_DRY_RUN = typer.Option(False, "--dry-run", help="Show which objects change, and how; change nothing.")
_JSON = typer.Option(False, "--json", help="Print JSON.")


@command.callback()
def _release() -> None:
    """Change what a release on Kubernetes serves. Each command prints the words of Helm; --apply runs them."""


@command.command("ship")
def ship_(
    artifact: Path = typer.Argument(..., help="Artifact file, or a store folder whose current one is meant."),
    release: str = _RELEASE,
    namespace: str = _NAMESPACE,
    percent: float = typer.Option(10, help="Share of routing keys that the candidate answers."),
    name: str = typer.Option("", help="Its name among the release's artifacts; default is made of the digest."),
    program: str | None = typer.Option(None, help="Program, package.module:Class; default is the release's."),
    current: Path | None = typer.Option(None, help="What stable serves, where the release only says where it is."),
    questions: Path | None = typer.Option(None, help="Questions that callers ask, for the forecast."),
    rpm: float | None = typer.Option(None, min=0, help="Questions per minute that callers ask, for the forecast."),
    floor: float | None = typer.Option(None, help="Let the hook evaluate it: gate.floor of the chart."),
    keep: bool = typer.Option(False, "--keep", help="Keep artifacts in the release that no variant serves."),
    chart: str | None = _CHART,
    helm: str = _HELM,
    timeout: str = _TIMEOUT,
    apply: bool = _APPLY,
    dry_run: bool = _DRY_RUN,
    as_json: bool = _JSON,
) -> None:
    """Make an artifact the candidate of a release: verify it, compare it with stable, foresee the cost, upgrade.

    A refused artifact ends it with exit code 1. The forecast needs --questions and --rpm, and the shared cache.

    Example: slipway release ship artifacts/ --release answers -n search --percent 10 --apply
    """
    if floor is not None and not 0 < floor < 1:
        raise ConfigInvalid(f"--floor {floor:g}: must be between 0 and 1, both exclusive")
    if (questions is None) != (rpm is None):
        raise ConfigInvalid("a forecast needs both --questions and --rpm")
    from slipway_server.cli.release_ship import checked
    from slipway_server.release.plan import ship, weight_of

    weight = weight_of(percent)
    by = _helm(release, namespace, chart, helm, timeout)
    state = by.state()
    path, report = checked(
        state, artifact, program=program, current=current, questions=questions, rpm=rpm, quiet=as_json
    )
    plan = ship(state, path, weight_bps=weight, key=name, floor=floor, keep=keep)
    where = f"--release {release}" + (f" -n {namespace}" if namespace else "")
    steps = [f"slipway release promote {where} --percent 50 --apply", f"slipway release promote {where} --apply"]
    carry_out(by, Change(plan, report, [*steps, f"slipway release rollback {where} --apply"]), apply, dry_run, as_json)


@command.command("promote")
def promote_(
    release: str = _RELEASE,
    namespace: str = _NAMESPACE,
    percent: float = typer.Option(100, help="Share for the candidate; at 100 it becomes stable."),
    chart: str | None = _CHART,
    helm: str = _HELM,
    timeout: str = _TIMEOUT,
    apply: bool = _APPLY,
    dry_run: bool = _DRY_RUN,
    as_json: bool = _JSON,
) -> None:
    """Give the candidate another share, which restarts no pod, or make it stable.

    Example: slipway release promote --release answers -n search --percent 50 --apply
    """
    from slipway_server.release.plan import promote, share, weight_of

    weight = weight_of(percent)
    by = _helm(release, namespace, chart, helm, timeout)
    state = by.state()
    plan = promote(state) if percent == 100 else share(state, weight)
    carry_out(by, Change(plan), apply, dry_run, as_json)


@command.command("rollback")
def rollback_(
    release: str = _RELEASE,
    namespace: str = _NAMESPACE,
    chart: str | None = _CHART,
    helm: str = _HELM,
    timeout: str = _TIMEOUT,
    apply: bool = _APPLY,
    dry_run: bool = _DRY_RUN,
    as_json: bool = _JSON,
) -> None:
    """Take a candidate's share away; where it has none, go back to the stable artifact before this one.

    After an upgrade that failed, go back to what was live before it.

    Example: slipway release rollback --release answers -n search --apply
    """
    from slipway_server.release.plan import rollback, stop

    by = _helm(release, namespace, chart, helm, timeout)
    state = by.state()
    plan = stop(state) if state.candidate and state.weight_bps else rollback(by, state)
    carry_out(by, Change(plan), apply, dry_run, as_json)


def _helm(release: str, namespace: str, chart: str | None, program: str, timeout: str) -> Helm:
    from slipway_server.release import Helm

    return Helm(
        release, namespace, chart=load_settings({"loop_chart": chart}).loop_chart, timeout=timeout, program=program
    )
