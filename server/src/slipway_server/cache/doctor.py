# SPDX-License-Identifier: Apache-2.0
"""Does a volume keep what the shared cache builds on? Asked by two processes at once, best on two hosts.

    findings = examine(store, wait_seconds=60)       # None: nobody came

Five properties (`properties`), and the time of a put and a get. Both processes return the same findings. A property has
failed only where it was seen to be violated; what a busy machine did not show in time is unclear.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict

import orjson

from slipway_server.cache.folder import DOCTOR
from slipway_server.cache.properties import CHECKS, Finding, Verdict
from slipway_server.cache.rendezvous import Meeting, Silent, meet
from slipway_server.cache.store import DiskStore


def examine(store: DiskStore, *, wait_seconds: float) -> list[Finding] | None:
    """Meet another process on the volume and test it together. None where nobody comes. Raises OSError."""
    meeting = meet(store, wait_seconds=wait_seconds)
    if meeting is None:
        return None
    findings: list[Finding] = []
    step = ""
    try:
        for step, check in CHECKS.items():
            findings += _told(meeting, step, check(meeting))
        _part(meeting)
    except Silent as silence:
        late = (
            f"the other process said nothing for {silence.seconds:g} s: it ended, or the machine is too busy; run again"
        )
        findings.append(Finding(step, Verdict.UNCLEAR, late))
    return findings


def _told(meeting: Meeting, step: str, mine: Finding | None) -> list[Finding]:
    """What one of the two found, to both."""
    heard = orjson.loads(meeting.exchange(f"found {step}", orjson.dumps(mine and asdict(mine))))
    theirs = heard and Finding(**{**heard, "verdict": Verdict(heard["verdict"])})
    return [found for found in (mine, theirs) if found]


def _part(meeting: Meeting) -> None:
    """The first removes the conversation when the other has read all of it."""
    if not meeting.first:
        meeting.say("bye")
        return
    meeting.hear("bye")
    for entry in os.scandir(meeting.store.folder.path(DOCTOR)):
        if entry.name.startswith(meeting.token):
            with suppress(OSError):
                meeting.store.ops.unlink(entry.path)
