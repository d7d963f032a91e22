# SPDX-License-Identifier: Apache-2.0
"""What the cache asks of a volume, each tested by two processes that meet on it.

    CHECKS["atomic rename"](meeting)        # in both processes; one of them returns the Finding, the other None

A check looks until it has seen enough to tell, however slow the machine is, and for no longer than LIMIT_SECONDS.
Raises OSError, and rendezvous.Silent where the other process does not answer.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import pairwise

import orjson

from slipway_server.cache.rendezvous import LIMIT_SECONDS, POLL_SECONDS, Meeting

RENAME_SECONDS, RENAME_READS, RENAME_VERSIONS = 3.0, 500, 4
"""At least. Hosts that remember for a second which file has a name see one version a second."""
RENAME_TEARS, VERSIONS_PER_TEAR, TEAR_SECONDS = 5, 20, 5.0
"""Files are not replaced atomically where so many versions are torn, or one for so long; up to one in 20 may be."""
ROUNDS = 50
RACES, RACE_TURNS = 200, 10
"""Races per batch, and how often the lead must change: a process that came late has raced nobody."""
RETRIES = 10
BARRIER_POLL_SECONDS = 0.0005
TIMED = 100
TIMED_BYTES = 6500
CHANGES = 5
CHANGE_SECONDS = 5.0
ABSENT_SECONDS = 90.0
"""Longer than any NFS client's default memory of an absent file (acdirmax, 60 s)."""

TOO_BUSY = "the machine is too busy, run again"


class Verdict(StrEnum):
    """What is to be thought of one property."""

    OK = "ok"
    FAILED = "failed"
    """Seen to be violated: the cache is not safe or not shared on this volume."""
    SLOW = "slow"
    """It costs time or identical calls, and no more."""
    UNCLEAR = "unclear"
    """Too little was seen to tell."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One property."""

    name: str
    verdict: Verdict
    detail: str
    figures: dict[str, float] = field(default_factory=dict)


def atomic_rename(meeting: Meeting) -> Finding | None:
    """The first replaces one file over and over; the second must read whole versions only."""
    target = meeting.path("rename")
    started = time.monotonic()
    if meeting.first:
        version = 0
        while meeting.heard("seen enough") is None and time.monotonic() - started < LIMIT_SECONDS:
            version += 1
            _replace(meeting, target, _content(version))
        meeting.hear("seen enough")
        meeting.say("written", str(version).encode())
        return None
    seen = _watch(meeting, target)
    meeting.say("seen enough")
    written, versions = int(meeting.hear("written")), len(seen.versions)
    if seen.enough:
        why = " at first, and whole when looked up anew" if seen.tears else ""
    elif seen.violated:
        why = f" for {TEAR_SECONDS:g} s" if seen.lasting else ""
    else:
        busy = seen.reads < RENAME_READS or written < 2 * RENAME_VERSIONS
        why = TOO_BUSY if busy else f"this host goes on seeing old versions, of {written}: see the options of its mount"
        why = f", in {LIMIT_SECONDS:g} s, too few to tell; {why}"
    return Finding(
        "atomic rename",
        Verdict.FAILED if seen.violated else Verdict.OK if seen.enough else Verdict.UNCLEAR,
        f"{seen.reads} reads saw {versions} versions of a file being replaced, {seen.tears} of them torn{why}",
        {"reads": seen.reads, "versions": versions, "torn": seen.tears},
    )


@dataclass(slots=True)
class _Seen:
    """What the reader of a file that is being replaced has seen."""

    reads: int = 0
    versions: set[bytes] = field(default_factory=set)
    tears: int = 0
    lasting: bool = False

    @property
    def violated(self) -> bool:
        """More than what a look-up at a bad moment explains."""
        return self.lasting or self.tears >= RENAME_TEARS

    @property
    def enough(self) -> bool:
        """Tears, if any, were rare."""
        versions = max(RENAME_VERSIONS, self.tears * VERSIONS_PER_TEAR)
        return not self.violated and self.reads >= RENAME_READS and len(self.versions) >= versions


def _watch(meeting: Meeting, target: str) -> _Seen:
    """Read until there is enough to tell. The same torn bytes, read again, are one tear.

    On GlusterFS a host that looks a file up while it is being replaced may be given the new file with the size of the
    old one, which it then believes for a second (posix_istat in xlators/storage/posix/src/posix-helpers.c asks first
    for the size behind a name and then for the file). A rename that is none tears whatever is looked up.
    """
    seen, since = _Seen(), 0.0
    torn: bytes | None = None
    started = time.monotonic()
    while (now := time.monotonic()) - started < LIMIT_SECONDS:
        if seen.violated or (now - started >= RENAME_SECONDS and seen.enough and torn is None):
            break
        with suppress(OSError):
            data = meeting.store.ops.read(target)
            seen.reads += 1
            if _whole(data):
                seen.versions.add(data[:8])
                torn = None
            elif data == torn:
                seen.lasting = now - since >= TEAR_SECONDS
            else:
                seen.tears += 1
                torn, since = data, now
    return seen


def close_to_open(meeting: Meeting) -> Finding | None:
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
        Verdict.FAILED if missing else Verdict.OK,
        f"{ROUNDS - missing} of {ROUNDS} entries were visible when their writer said so",
        {"entries": ROUNDS, "missing": missing},
    )


def exclusive_create(meeting: Meeting) -> Finding | None:
    """Both race to make the same files: none may have two makers, nor may one be impossible to make.

    Where nobody wins, both try again, as those who want a lease do. GlusterFS makes a file in two steps; another host's
    look-up between them undoes it (https://github.com/gluster/glusterfs/pull/2600), which a second try does not meet.
    """
    races, wins, both, turns = 0, [0, 0], 0, 0
    unmade: list[int] = []
    started = time.monotonic()
    while turns < RACE_TURNS and not both:
        if _either(meeting, f"stop at {races}", time.monotonic() - started >= LIMIT_SECONDS):
            break
        numbers = range(races, races + RACES)
        mine, theirs = _race(meeting, f"batch {races}", numbers)
        both += len(mine & theirs)
        unmade += [number for number in numbers if number not in mine | theirs]
        winners = [number in mine for number in numbers if number in mine ^ theirs]
        turns += sum(one != other for one, other in pairwise(winners))
        races, wins = races + RACES, [wins[0] + len(mine), wins[1] + len(theirs)]
    again = len(unmade)
    for retry in range(RETRIES):
        if not unmade:
            break
        time.sleep(min(2.0, POLL_SECONDS * 2**retry))  # a host may remember the name for a second or so
        mine, theirs = _race(meeting, f"retry {retry}", unmade)
        both += len(mine & theirs)
        unmade = [number for number in unmade if number not in mine | theirs]
    if meeting.first:
        return None
    violated, raced = both or unmade, turns >= RACE_TURNS
    return Finding(
        "exclusive create",
        Verdict.FAILED if violated else Verdict.OK if raced else Verdict.UNCLEAR,
        f"{races} races won {wins[1]} to {wins[0]}; {both} won by both, {len(unmade)} by nobody"
        + (f" ({again} at the first try)" if again else "")
        + ("" if raced or violated else f", in {LIMIT_SECONDS:g} s; one process was always late; {TOO_BUSY}"),
        {"races": races, "both": both, "nobody": len(unmade), "nobody_at_first": again, "turns": turns},
    )


def changes_in_place(meeting: Meeting) -> Finding | None:
    """The sign of life of a lease's holder."""
    path = meeting.path("beat")
    if meeting.first:
        for number in range(CHANGES):
            meeting.store.ops.overwrite(path, b"%020d" % number, mode=0o600)
            meeting.say(f"beat {number}")
            meeting.hear(f"felt {number}")
        return None
    delays = []
    for number in range(CHANGES):
        meeting.hear(f"beat {number}")
        delays.append(_until(CHANGE_SECONDS, partial(_reads, meeting, path, b"%020d" % number)))
        meeting.say(f"felt {number}")
    slowest = max(delays)
    if slowest >= CHANGE_SECONDS:
        detail = f"a changed file was not seen to change for {CHANGE_SECONDS:g} s: pods that live are taken for dead"
    else:
        detail = f"a changed file was seen after {slowest:.2f} s at most"
        detail += "; set SLIPWAY_CACHE_LEASE_SECONDS above four times that" if slowest > 1 else ""
    return Finding(
        "changes in place",
        Verdict.OK if slowest < CHANGE_SECONDS else Verdict.SLOW,
        detail,
        {"slowest_seconds": slowest},
    )


def absence(meeting: Meeting) -> Finding | None:
    """How long one looks for a file in vain that it has looked for before the other made it."""
    digest = f"ff{meeting.token * 4}"[:64]
    if meeting.first:
        meeting.hear("looked")
        meeting.store.put(digest, b"here")
        meeting.say("made")
        meeting.hear("found")
        meeting.store.ops.unlink(meeting.store.folder.entry(digest))
        return None
    meeting.store.get(digest)
    meeting.say("looked")
    meeting.hear("made")
    delay = _until(ABSENT_SECONDS, lambda: meeting.store.get(digest) == b"here")
    meeting.say("found")
    return Finding(
        "absence is not remembered",
        Verdict.OK if delay < 1 else Verdict.SLOW,
        f"a new file was found {delay:.2f} s after it had been looked for in vain"
        + ("; until then its reader pays for an answer that is there" if delay >= 1 else ""),
        {"seconds": delay},
    )


def times(meeting: Meeting) -> Finding | None:
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
        Verdict.OK if figures["get_p99_ms"] < 500 else Verdict.SLOW,
        "put p50 {put_p50_ms} ms, p99 {put_p99_ms} ms; get p50 {get_p50_ms} ms, p99 {get_p99_ms} ms".format(**figures),
        figures,
    )


CHECKS: dict[str, Callable[[Meeting], Finding | None]] = {
    "atomic rename": atomic_rename,
    "close-to-open": close_to_open,
    "exclusive create": exclusive_create,
    "changes in place": changes_in_place,
    "absence is not remembered": absence,
    "times": times,
}


def _either(meeting: Meeting, step: str, mine: bool) -> bool:
    """Whether one of the two says so: told to both, so that both do the same."""
    theirs = meeting.exchange(step, orjson.dumps(mine), poll_seconds=BARRIER_POLL_SECONDS)
    return mine or bool(orjson.loads(theirs))


def _race(meeting: Meeting, step: str, numbers: Sequence[int]) -> tuple[set[int], set[int]]:
    """The files that this process has made, and those of the other; they are removed again."""
    mine = set()
    meeting.exchange(step, poll_seconds=BARRIER_POLL_SECONDS)
    for number in numbers:
        with suppress(FileExistsError):
            meeting.store.ops.create(meeting.path(f"race{number}"), b"", mode=0o600, fsync=False)
            mine.add(number)
    theirs = set(orjson.loads(meeting.exchange(f"{step} made", orjson.dumps(sorted(mine)))))
    for number in mine:
        with suppress(FileNotFoundError):  # made by both, and removed by the other
            meeting.store.ops.unlink(meeting.path(f"race{number}"))
    return mine, theirs


def _content(version: int) -> bytes:
    """Every version differs from its neighbours in length and in every part."""
    head = b"%08d" % version
    return head * (1 + version * 7919 % 8192)


def _whole(data: bytes) -> bool:
    return data[:8].isdigit() and data == _content(int(data[:8]))


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
