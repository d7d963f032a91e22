# SPDX-License-Identifier: Apache-2.0
"""Claims: who may recompile. One alarm gives one claim, however many re-evaluations run; 30 days give two at most.

claim(loop, digest, window, now).granted
with beating(loop, digest, window):     # in the process that recompiles, however long it takes
    …
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from slipway_server.artifacts.files import write_atomic
from slipway_server.improve.places import UNCOMPILED, gates, load, publish
from slipway_server.traffic.config import DAY_SECONDS

BEAT = ".beat"
MOST = 2
WITHIN_SECONDS = 30 * DAY_SECONDS
BEAT_SECONDS = 300.0
SILENT_SECONDS = 3600.0
"""A recompilation that has not been heard of for so long is dead."""
UNBEGUN_SECONDS = DAY_SECONDS
"""A Job may wait so long for room in the cluster before it begins."""


@dataclass(frozen=True, slots=True)
class Claim:
    """`granted`: this process recompiles. Otherwise `reason` says why not."""

    granted: bool
    reason: str


def claim(loop: Path, digest: str, window: str, now: float) -> Claim:
    """Ask for the recompilation of `digest` after the alarm of `window`.

    A claim without a result of the gate is taken over where its recompilation has fallen silent, or never began: once,
    since both count towards the month's two.
    """
    path = _path(loop, digest, window)
    folder = path.parent
    held = load(path)
    if held is not None and (_is_alive(path, float(held["time"]), now) or (gates(loop) / path.name).exists()):
        return Claim(False, f"the alarm of {window} has been acted on already")
    recent = [found for found in _times(folder) if now - found < WITHIN_SECONDS]
    if len(recent) >= MOST:
        return Claim(False, f"{len(recent)} recompilations in 30 days already: a person must look first")
    if held is not None and not _put_aside(path, float(held["time"])):
        return Claim(False, f"another re-evaluation acts on the alarm of {window}")
    if not publish(path, {"digest": digest, "window": window, "time": now, "host": os.uname().nodename}):
        return Claim(False, f"another re-evaluation acts on the alarm of {window}")
    return Claim(True, f"the alarm of {window} is acted on")


def give_back(loop: Path, digest: str, window: str) -> None:
    """Take a claim back whose recompilation met an outage, so that a later run may try again."""
    _path(loop, digest, window).unlink(missing_ok=True)


@contextmanager
def beating(
    loop: Path, digest: str, window: str, *, wall: Callable[[], float] = time.time, every_seconds: float = BEAT_SECONDS
) -> Iterator[None]:
    """Show that the recompilation is alive for as long as this block takes, so that nobody takes its claim over.

    A volume that fails costs beats, and nothing else.
    """
    beat, ended = _path(loop, digest, window).with_suffix(BEAT), threading.Event()

    def keep() -> None:
        while True:
            with suppress(OSError):
                write_atomic(beat, orjson.dumps({"time": wall()}))
            if ended.wait(every_seconds):
                return

    threading.Thread(target=keep, name="slipway-claim-beat", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _path(loop: Path, digest: str, window: str) -> Path:
    return loop / "claims" / f"{digest[:16] or UNCOMPILED}-{window}.json"


def _is_alive(path: Path, made: float, now: float) -> bool:
    """By the last beat since the claim was made; where there is none, by the claim's age."""
    heard = float((load(path.with_suffix(BEAT)) or {"time": made})["time"])
    return now - heard < SILENT_SECONDS if heard > made else now - made < UNBEGUN_SECONDS


def _put_aside(path: Path, made: float) -> bool:
    """Keep a dead process's claim under another name; returns whether this call did so, and no other one."""
    try:
        path.with_name(f"{path.stem}.died-{made:.0f}.json").hardlink_to(path)
    except OSError:
        return False
    path.unlink(missing_ok=True)
    return True


def _times(folder: Path) -> list[float]:
    found = [load(path) for path in folder.glob("*.json")]
    return [float(value["time"]) for value in found if value]
