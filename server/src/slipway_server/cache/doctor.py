# SPDX-License-Identifier: Apache-2.0
"""Does a volume keep what the shared cache builds on? Asked by two processes at once, best on two hosts.

    findings = examine(store, wait_seconds=60)

Five properties: a rename is atomic, what is closed is visible to who opens it afterwards, O_EXCL has one winner, a file
changed in place is seen to change, and a host does not believe for long that a file is absent. And the time of a put
and a get. Both processes return the same findings.
"""

from __future__ import annotations

import os
import secrets
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial

import orjson

from slipway_server.cache.folder import DOCTOR
from slipway_server.cache.rendezvous import POLL_SECONDS, Meeting, meet
from slipway_server.cache.store import DiskStore

RENAME_SECONDS = 3.0
ROUNDS = 50
RACES = 200
TIMED = 100
TIMED_BYTES = 6500
CHANGE_SECONDS = 5.0
ABSENT_SECONDS = 90.0
"""Longer than any NFS client's default memory of an absent file (acdirmax, 60 s)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One property. `needed`: without it the cache gives wrong answers or none; otherwise it only saves less."""

    name: str
    ok: bool
    detail: str
    needed: bool = True
    figures: dict[str, float] = field(default_factory=dict)


def examine(store: DiskStore, *, wait_seconds: float) -> list[Finding] | None:
    """Meet another process on the volume and test it together. None where nobody comes. Raises OSError."""
    meeting = meet(store, wait_seconds=wait_seconds)
    if meeting is None:
        return None
    checks: list[Callable[[Meeting], Finding | None]] = [
        _atomic_rename,
        _close_to_open,
        _exclusive_create,
        _changes_in_place,
        _absence,
        _times,
    ]
    mine = [check(meeting) for check in checks]
    heard = meeting.exchange("findings", orjson.dumps([one and asdict(one) for one in mine]))
    theirs = [one and Finding(**one) for one in orjson.loads(heard)] if heard else [None] * len(mine)
    if meeting.first:
        meeting.hear("bye")
        _clean(meeting)
    else:
        meeting.say("bye")
    return [found for pair in zip(mine, theirs, strict=True) for found in pair if found]


def _atomic_rename(meeting: Meeting) -> Finding | None:
    """The first replaces one file over and over; the second must read whole versions only."""
    target, stop = meeting.path("rename"), time.monotonic() + RENAME_SECONDS
    if meeting.first:
        version = 0
        while time.monotonic() < stop:
            version += 1
            _replace(meeting, target, _content(version))
        meeting.exchange("renamed")
        return None
    reads, torn, seen = 0, 0, set[bytes]()
    while time.monotonic() < stop:
        with suppress(OSError):
            data = meeting.store.ops.read(target)
            reads += 1
            seen.add(data[:8])
            torn += not (data[:8].isdigit() and data == _content(int(data[:8])))
    meeting.exchange("renamed")
    return Finding(
        "atomic rename",
        torn == 0 and len(seen) > 1,
        f"{reads} reads saw {len(seen)} versions of a file being replaced, {torn} of them torn",
        figures={"reads": reads, "versions": len(seen), "torn": torn},
    )


def _close_to_open(meeting: Meeting) -> Finding | None:
    """What one has published before it says so, the other must find."""
    missing = 0
    for number in range(ROUNDS):
        digest, value = f"{number:02x}{meeting.token * 4}"[:64], f"{number}".encode()
        if meeting.first:
            meeting.store.put(digest, value)
            meeting.say(f"put {number}")
            meeting.hear(f"got {number}")
            meeting.store.ops.unlink(meeting.store.folder.entry(digest))
        else:
            meeting.hear(f"put {number}")
            missing += meeting.store.get(digest) != value
            meeting.say(f"got {number}")
    if meeting.first:
        return None
    return Finding(
        "close-to-open",
        missing == 0,
        f"{ROUNDS - missing} of {ROUNDS} entries were visible when their writer said so",
        figures={"entries": ROUNDS, "missing": missing},
    )


def _exclusive_create(meeting: Meeting) -> Finding | None:
    """Both race to make the same files; each must have one maker."""
    meeting.exchange("race")
    mine = set()
    for number in range(RACES):
        with suppress(FileExistsError):
            meeting.store.ops.create(meeting.path(f"race{number}"), b"", mode=0o600, fsync=False)
            mine.add(number)
    heard = meeting.exchange("raced", orjson.dumps(sorted(mine)))
    theirs = set(orjson.loads(heard or b"[]"))
    if meeting.first:
        return None
    both, nobody = len(mine & theirs), RACES - len(mine | theirs)
    return Finding(
        "exclusive create",
        not both and not nobody,
        f"{RACES} races won {len(theirs)} to {len(mine)}; {both} won by both, {nobody} by nobody",
        figures={"races": RACES, "both": both, "nobody": nobody},
    )


def _changes_in_place(meeting: Meeting) -> Finding | None:
    """The sign of life of a lease's holder."""
    path = meeting.path("beat")
    if meeting.first:
        for number in range(5):
            meeting.store.ops.overwrite(path, b"%020d" % number, mode=0o600)
            meeting.say(f"beat {number}")
            meeting.hear(f"felt {number}")
        return None
    delays = []
    for number in range(5):
        meeting.hear(f"beat {number}")
        delays.append(_until(CHANGE_SECONDS, partial(_reads, meeting, path, b"%020d" % number)))
        meeting.say(f"felt {number}")
    slowest = max(delays)
    return Finding(
        "changes in place",
        slowest < CHANGE_SECONDS,
        f"a changed file was seen after {slowest:.2f} s at most"
        + ("; set SLIPWAY_CACHE_LEASE_SECONDS above four times that" if slowest > 1 else ""),
        needed=False,
        figures={"slowest_seconds": slowest},
    )


def _absence(meeting: Meeting) -> Finding | None:
    """How long one looks for a file in vain that it has looked for before the other made it."""
    digest = f"ff{meeting.token * 4}"[:64]
    if meeting.first:
        meeting.hear("looked")
        meeting.store.put(digest, b"here")
        meeting.say("made")
        meeting.hear("found", ABSENT_SECONDS + 10)
        meeting.store.ops.unlink(meeting.store.folder.entry(digest))
        return None
    meeting.store.get(digest)
    meeting.say("looked")
    meeting.hear("made")
    delay = _until(ABSENT_SECONDS, lambda: meeting.store.get(digest) == b"here")
    meeting.say("found")
    return Finding(
        "absence is not remembered",
        delay < 1,
        f"a new file was found {delay:.2f} s after it had been looked for in vain"
        + ("; until then its reader pays for an answer that is there" if delay >= 1 else ""),
        needed=False,
        figures={"seconds": delay},
    )


def _times(meeting: Meeting) -> Finding | None:
    """Put and get of a typical entry, while the other one does nothing."""
    if meeting.first:
        meeting.hear("timed")
        return None
    digests = [secrets.token_hex(32) for _ in range(TIMED)]
    value = secrets.token_bytes(TIMED_BYTES)
    puts = [_timed(partial(meeting.store.put, digest, value)) for digest in digests]
    gets = [_timed(partial(meeting.store.get, digest)) for digest in digests]
    for digest in digests:
        meeting.store.ops.unlink(meeting.store.folder.entry(digest))
    meeting.say("timed")
    figures = {
        f"{name}_{label}_ms": round(value * 1000, 3)
        for name, times in (("put", puts), ("get", gets))
        for label, value in (("p50", statistics.median(times)), ("p99", statistics.quantiles(times, n=100)[98]))
    }
    return Finding(
        "times",
        figures["get_p99_ms"] < 500,
        "put p50 {put_p50_ms} ms, p99 {put_p99_ms} ms; get p50 {get_p50_ms} ms, p99 {get_p99_ms} ms".format(**figures),
        needed=False,
        figures=figures,
    )


def _content(version: int) -> bytes:
    """Every version differs from its neighbours in length and in every part."""
    head = b"%08d" % version
    return head * (1 + version * 7919 % 8192)


def _replace(meeting: Meeting, target: str, data: bytes) -> None:
    temporary = meeting.store.temporary()
    meeting.store.ops.create(temporary, data, mode=0o600, fsync=True)
    meeting.store.ops.replace(temporary, target)


def _reads(meeting: Meeting, path: str, data: bytes) -> bool:
    return meeting.store.ops.read(path) == data


def _until(limit_seconds: float, seen: Callable[[], bool]) -> float:
    started = time.monotonic()
    while (passed := time.monotonic() - started) < limit_seconds:
        with suppress(OSError):
            if seen():
                return passed
        time.sleep(POLL_SECONDS)
    return limit_seconds


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _clean(meeting: Meeting) -> None:
    for entry in os.scandir(meeting.store.folder.path(DOCTOR)):
        if entry.name.startswith(meeting.token):
            with suppress(OSError):
                meeting.store.ops.unlink(entry.path)
