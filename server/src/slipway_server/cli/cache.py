# SPDX-License-Identifier: Apache-2.0
"""`slipway cache`: stats, gc, verify, doctor and warm, for the shared volume."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.cache_warm import warm
from slipway_server.cli.output import JSON_OPTION, print_json
from slipway_server.cli.stages import stages
from slipway_server.config import CACHE_DIR_KEY, load_settings
from slipway_server.errors import ConfigInvalid

if TYPE_CHECKING:
    from slipway_server.cache.care import Progress
    from slipway_server.cache.properties import Verdict
    from slipway_server.cache.store import DiskStore

command = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Inspect, clean, check and warm the shared cache ($DSPY_CACHEDIR)."
)

UNCLEAR = 3
"""Exit code; 2 says that the configuration is wrong."""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@command.command()
def stats(as_json: bool = JSON_OPTION) -> None:
    """Count entries, bytes, ages and leftovers.

    Example: slipway cache stats --json | jq .bytes
    """
    from slipway_server.cache import care

    with _progress("counting", as_json) as progress, _volume() as store:
        found = care.stats(store.folder, progress)
    _print(asdict(found), as_json)


@command.command()
def gc(
    max_age_days: float = typer.Option(30.0, min=0, max=1e6, help="Delete entries older than this."),
    max_bytes: str = typer.Option(
        "10G", help="Above this size, delete the oldest entries; K, M, G and T are powers of 1024."
    ),
    min_age_minutes: float = typer.Option(60.0, min=0, max=5e7, help="Never delete entries younger than this."),
    grace_seconds: float = typer.Option(
        5.0, min=0, max=3600, help="Time between renaming a file away and deleting it."
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """Delete entries that are too old or too many, and what crashed processes left. Safe while pods run.

    Example: slipway cache gc --max-age-days 14 --max-bytes 8G
    """
    from slipway_server.cache import care

    limits = care.Limits(
        max_age_seconds=max_age_days * care.DAY,
        max_bytes=_bytes(max_bytes),
        min_age_seconds=min_age_minutes * 60,
        grace_seconds=grace_seconds,
    )
    with _progress("collecting", as_json) as progress, _volume() as store:
        found = care.collect(store.folder, limits, progress=progress)
    _print(asdict(found), as_json)


@command.command()
def verify(
    repair: bool = typer.Option(False, "--repair", help="Delete files that no reader would accept."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Read every entry. Exit code 1 if some are damaged; readers treat those as misses.

    Example: slipway cache verify --repair
    """
    from slipway_server.cache import care

    with _progress("reading", as_json) as progress, _volume() as store:
        found = care.verify(store.folder, repair=repair, progress=progress)
    _print(asdict(found), as_json)
    if found.faults:
        raise typer.Exit(1)


@command.command()
def doctor(
    wait_seconds: float = typer.Option(120.0, min=1, max=86_400, help="How long to wait for the other process."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Test whether the volume is suitable for the cache. Run it in two pods at the same time, preferably on two nodes.

    Exit code 1 where a property that is needed does not hold, 3 where that could not be told: nobody came, or the
    machine was too busy.

    Example: kubectl exec pod-a -- slipway cache doctor & kubectl exec pod-b -- slipway cache doctor
    """
    from slipway_server.cache.doctor import examine

    with _volume() as store:
        if not as_json:
            typer.echo(f"waiting up to {wait_seconds:g} s for `slipway cache doctor` in another pod …", err=True)
        findings = examine(store, wait_seconds=wait_seconds)
    if findings is None:
        typer.echo("nobody came: run `slipway cache doctor` in two pods at once", err=True)
        if as_json:
            print_json([])
        raise typer.Exit(UNCLEAR)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    colours = {"ok": "green", "failed": "red"}
    for finding in [] if as_json else findings:
        typer.secho(f"{finding.verdict:8}", fg=colours.get(finding.verdict, "yellow"), nl=False)
        typer.echo(f"{finding.name}: {finding.detail}")
    raise typer.Exit(exit_code({finding.verdict for finding in findings}))


command.command()(warm)


@contextmanager
def _volume() -> Iterator[DiskStore]:
    """The configured volume; its faults become one line."""
    from slipway_server.cache.store import DiskStore

    settings = load_settings()
    store = DiskStore(settings.cache_dir, ttl_seconds=settings.cache_ttl_seconds, fsync=settings.cache_fsync)
    try:
        yield store
    except OSError as error:
        raise ConfigInvalid(
            f"{CACHE_DIR_KEY}: cannot use {settings.cache_dir}: {error.strerror}; check the mount and its permissions",
            key=CACHE_DIR_KEY,
        ) from None


@contextmanager
def _progress(what: str, quiet: bool) -> Iterator[Progress]:
    with stages(quiet=quiet, unit="files") as report:
        yield lambda share, files: report(what, files, round(files / share))


def exit_code(verdicts: set[Verdict]) -> int:
    """Of `doctor`: 1 where a property failed, 3 where that could not be told."""
    return 1 if "failed" in verdicts else UNCLEAR if "unclear" in verdicts else 0


def _bytes(text: str) -> int:
    parsed = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if parsed is None:
        raise ConfigInvalid(f"--max-bytes: {text!r} is not a size such as 500M or 8G", key="max_bytes")
    return int(float(parsed[1]) * _UNITS[parsed[2].upper()])


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        shown = ", ".join(f"{k} {n:,}" for k, n in value.items()) or "none" if isinstance(value, dict) else f"{value:,}"
        typer.echo(f"{name.replace('_', ' '):16} {shown}")
