# SPDX-License-Identifier: Apache-2.0
"""What `slipway reevaluate` and `slipway recompile` do after their verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from slipway_server.config import Settings
from slipway_server.errors import CompileFailed, ConfigInvalid, SlipwayError

WAYS = ("print", "run", "job")


def check(settings: Settings, bundle: Path | None, how: str) -> None:
    """Raise ConfigInvalid where a DEGRADED verdict could not be acted on as `how` says."""
    if how not in WAYS:
        raise ConfigInvalid(f"--on-degraded {how}: there are {', '.join(WAYS)}")
    if how == "run" and bundle is None:
        raise ConfigInvalid("--on-degraded run needs --bundle: what to recompile with")
    if how == "job":
        from slipway_server.improve.kubernetes import Cluster

        _template(settings)
        with Cluster.inside():
            pass


def check_publishing(settings: Settings) -> str:
    """The Helm release to publish for. Raises ConfigInvalid where there is none, or this is no pod of a cluster."""
    from slipway_server.improve.kubernetes import Cluster

    if settings.loop_release is None:
        raise ConfigInvalid("--publish needs SLIPWAY_LOOP_RELEASE: the Helm release", key="SLIPWAY_LOOP_RELEASE")
    with Cluster.inside():
        return settings.loop_release


def degraded(settings: Settings, report: dict[str, Any], bundle: Path | None, how: str, *, quiet: bool) -> None:
    """Recompile here (run), or in a Job of the cluster (job)."""
    if how == "job":
        from slipway_server.improve.handover import start_job
        from slipway_server.improve.kubernetes import Cluster

        with _claimed(settings, report), Cluster.inside() as cluster:
            typer.echo(start_job(cluster, _template(settings), report), err=quiet)
    elif how == "run" and bundle is not None:
        from slipway_server.cli import recompile

        with _claimed(settings, report):
            result = recompile.run(settings, bundle, quiet=quiet)
        if not quiet:
            recompile.show(result)


@contextmanager
def _claimed(settings: Settings, report: dict[str, Any]) -> Iterator[None]:
    """Gives the claim back where the recompilation met an outage; one that failed for itself counts as tried."""
    try:
        yield
    except SlipwayError as error:
        if not isinstance(error, CompileFailed):
            from slipway_server.improve.claims import give_back
            from slipway_server.improve.places import loop_folder

            give_back(loop_folder(settings), report["digest"], report["recompile"]["window"])
        raise


def publish_candidate(settings: Settings, release: str, result: dict[str, Any], *, quiet: bool) -> None:
    """Publish in the cluster, and print what makes it live."""
    from slipway_server.improve.handover import commands, publish
    from slipway_server.improve.kubernetes import Cluster

    with Cluster.inside() as cluster:
        name, namespace = publish(cluster, result, release), cluster.namespace
    lines = [f"published: ConfigMap {name}", "next:"]
    steps = commands(result, release=release, namespace=namespace, chart=settings.loop_chart)
    lines += [f"  {line}" for line in steps]
    typer.echo("\n".join(lines), err=quiet)


def _template(settings: Settings) -> str:
    if settings.loop_job_template is None:
        raise ConfigInvalid(
            "--on-degraded job needs SLIPWAY_LOOP_JOB_TEMPLATE: the suspended CronJob to make the Job from",
            key="SLIPWAY_LOOP_JOB_TEMPLATE",
        )
    return settings.loop_job_template
