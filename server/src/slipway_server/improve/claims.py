# SPDX-License-Identifier: Apache-2.0
"""Claims: who may recompile. One alarm gives one claim, however many re-evaluations run; 30 days give two at most.

claim(folder, digest, window, now)      # Claimed, or Refused with the reason
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slipway_server.improve.places import UNCOMPILED, gates, load, publish

MOST = 2
WITHIN_SECONDS = 30 * 86_400.0
STALE_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Claim:
    """`granted`: this process recompiles. Otherwise `reason` says why not."""

    granted: bool
    reason: str


def claim(loop: Path, digest: str, window: str, now: float) -> Claim:
    """Ask for the recompilation of `digest` after the alarm of `window`.

    A claim that came to nothing in a day (no result of the gate) belonged to a process that died: it is taken over,
    once, since both count towards the month's two.
    """
    folder = loop / "claims"
    path = folder / f"{digest[:16] or UNCOMPILED}-{window}.json"
    held = load(path)
    if held is not None and (now - float(held["time"]) < STALE_SECONDS or (gates(loop) / path.name).exists()):
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
    (loop / "claims" / f"{digest[:16] or UNCOMPILED}-{window}.json").unlink(missing_ok=True)


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
