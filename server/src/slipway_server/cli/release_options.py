# SPDX-License-Identifier: Apache-2.0
"""What every `slipway release` command takes: which release, and how Helm is to change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from slipway_server.cli.output import JSON_OPTION
from slipway_server.config import load_settings

if TYPE_CHECKING:
    from slipway_server.release import Helm


@dataclass(frozen=True)
class Where:
    """The release."""

    release: str = typer.Option(..., "--release", help="Name of the Helm release.")
    namespace: str = typer.Option("", "--namespace", "-n", help="Its namespace; default is that of Helm's context.")

    def command(self, name: str, options: str) -> str:
        """Another step for the same release, as it is typed."""
        where = f"--release {self.release}" + (f" -n {self.namespace}" if self.namespace else "")
        return " ".join(part for part in ("slipway release", name, where, options, "--apply") if part)


@dataclass(frozen=True)
class How:
    """Helm, and whether it is run, tried or only printed."""

    chart: str | None = typer.Option(
        None, "--chart", help="The chart, as you would name it to Helm; default is SLIPWAY_LOOP_CHART."
    )
    helm: str = typer.Option("helm", "--helm", help="Helm's command.")
    timeout: str = typer.Option("10m", "--timeout", help="How long Helm waits for the pods.")
    apply: bool = typer.Option(False, "--apply", help="Run the printed command.")
    dry_run: bool = typer.Option(False, "--dry-run", help="Show which objects would change, and how.")
    as_json: bool = JSON_OPTION


def helm_for(where: Where, how: How) -> Helm:
    """Helm for the release, with its chart from the configuration where none is given. Raises ConfigInvalid."""
    from slipway_server.release import Helm

    chart = load_settings({"loop_chart": how.chart}).loop_chart
    return Helm(where.release, where.namespace, chart=chart, timeout=how.timeout, program=how.helm)
