# SPDX-License-Identifier: Apache-2.0
"""Looking after a volume, while pods use it: what is there, is it whole, and away with what is old.

    stats(folder); verify(folder); collect(folder, Limits(max_age_seconds=30 * DAY, max_bytes=8 * GIB))

Entries go by age, then by size, oldest first. What goes is renamed into trash/ and removed a little later, because on
some network file systems a reader loses a file that is removed under it. Readers and writers need not know: an entry
that goes is a miss. Two runs at once do no harm.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from slipway_server.cache import record
from slipway_server.cache.fileops import FileOps
from slipway_server.cache.folder import DOCTOR, ENTRIES, HOLDERS, LEASES, TEMPORARY, TRASH, Folder
from slipway_server.cache.record import Miss

DAY = 86400.0
BUCKET_SECONDS = 60
"""Ages are compared in steps of this: the scan then remembers bytes per step instead of every file."""
REMEMBERED_SECONDS = 2.0
"""Hosts believe what they know of a file for one second (FUSE)."""
_GONE = "gone"
"""Collected meanwhile."""

Progress = Callable[[float, int], None]
"""Called with the share of the folders done, 0 to 1, and the number of files seen."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may stay. None means no limit."""

    max_age_seconds: float | None = None
    max_bytes: int | None = None
    min_age_seconds: float = 3600.0
    """Younger entries stay in any case: somebody has just paid for them."""
    leftover_seconds: float = DAY
    """Files of writers, leases and holders that died are removed at this age."""
    grace_seconds: float = 5.0
    """Between a file's way into the trash and its removal."""


@dataclass(slots=True)
class Stats:
    """What is on the volume. Ages in seconds."""

    entries: int = 0
    bytes: int = 0
    oldest_seconds: float = 0.0
    newest_seconds: float = 0.0
    temporary: int = 0
    trash: int = 0
    leases: int = 0
    holders: int = 0


@dataclass(slots=True)
class Verified:
    """How many entries read back whole, and how many did not, by reason."""

    whole: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    removed: int = 0


@dataclass(slots=True)
class Collected:
    """What a collection removed and left."""

    removed: int = 0
    removed_bytes: int = 0
    kept: int = 0
    kept_bytes: int = 0
    leftovers: int = 0


def stats(folder: Folder, progress: Progress | None = None, now: Callable[[], float] = time.time) -> Stats:
    """Count everything."""
    found, moment = Stats(), now()
    ages: list[float] = []
    for entry in _entries(folder, progress):
        with suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            found.entries += 1
            found.bytes += status.st_size
            age = max(0.0, moment - status.st_mtime)
            ages = [min(age, *ages[:1]), max(age, *ages[1:])] if ages else [age, age]
    if ages:
        found.newest_seconds, found.oldest_seconds = ages
    found.temporary, found.trash, found.leases, found.holders = (
        sum(1 for _ in _scan(folder.path(name))) for name in (TEMPORARY, TRASH, LEASES, HOLDERS)
    )
    return found


def verify(
    folder: Folder,
    *,
    repair: bool = False,
    progress: Progress | None = None,
    ops: FileOps | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Verified:
    """Read every entry. `repair` removes those that no reader would accept.

    What does not read back whole is read again at the end: an entry that another host replaces in this moment may be
    stale, or have another size, for this host and for as long as it remembers (see properties).
    """
    ops, result, faults, suspects = ops or FileOps(), Verified(), Counter[str](), list[str]()
    for entry in _entries(folder, progress):
        fault = _fault(entry.path, ops)
        if fault is None:
            result.whole += 1
        elif fault != _GONE:
            suspects.append(entry.path)
    if suspects:
        sleep(REMEMBERED_SECONDS)
    for path in suspects:
        fault = _fault(path, ops)
        if fault is None:
            result.whole += 1
        elif fault != _GONE:
            faults[fault] += 1
            result.removed += repair and _removed(folder, path, ops)
    result.faults = dict(faults)
    return result


def _fault(path: str, ops: FileOps) -> str | None:
    """Why no reader would accept this entry; None where it is whole."""
    shard, _, name = path.rpartition("/")
    try:
        found = record.decode(ops.read(path), f"{Path(shard).name}{name}")
    except FileNotFoundError:
        return _GONE
    except OSError as error:
        return f"unreadable ({os.strerror(error.errno or 0)})"
    return found.value if isinstance(found, Miss) else None


def _removed(folder: Folder, path: str, ops: FileOps) -> bool:
    try:
        ops.unlink(_trashed(folder, path, ops))
    except OSError:
        return False
    return True


def collect(
    folder: Folder,
    limits: Limits,
    *,
    progress: Progress | None = None,
    ops: FileOps | None = None,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Collected:
    """Remove what is beyond the limits, and what crashed processes left behind."""
    ops, moment, result, trash = ops or FileOps(), now(), Collected(), list[str]()
    cutoff, spare = _plan(folder, limits, moment)
    for entry in _entries(folder, progress):
        with suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            bucket = int(status.st_mtime // BUCKET_SECONDS)
            goes = bucket < cutoff or (bucket == cutoff and spare > 0)
            if goes and moment - status.st_mtime >= limits.min_age_seconds:
                trash.append(_trashed(folder, entry.path, ops))
                result.removed += 1
                result.removed_bytes += status.st_size
                spare -= status.st_size if bucket == cutoff else 0
            else:
                result.kept += 1
                result.kept_bytes += status.st_size
    result.leftovers = _sweep(folder, limits, moment, ops)
    if trash:
        sleep(limits.grace_seconds)
    for path in trash:
        with suppress(OSError):
            ops.unlink(path)
    return result


def _plan(folder: Folder, limits: Limits, moment: float) -> tuple[int, int]:
    """The bucket before which everything goes, and how many bytes of that bucket itself must go."""
    sizes: Counter[int] = Counter()
    for entry in _entries(folder, None):
        with suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            sizes[int(status.st_mtime // BUCKET_SECONDS)] += status.st_size
    cutoff = 0
    if limits.max_age_seconds is not None:
        cutoff = int((moment - limits.max_age_seconds) // BUCKET_SECONDS)
    if limits.max_bytes is None:
        return cutoff, 0
    excess = sum(size for bucket, size in sizes.items() if bucket >= cutoff) - limits.max_bytes
    for bucket in sorted(bucket for bucket in sizes if bucket >= cutoff):
        if excess <= sizes[bucket]:
            return bucket, max(0, excess)
        excess -= sizes[bucket]
    return cutoff, 0


def _sweep(folder: Folder, limits: Limits, moment: float, ops: FileOps) -> int:
    """Remove what processes that died have left in the folders beside the entries."""
    ages = {
        TEMPORARY: limits.leftover_seconds,
        LEASES: limits.leftover_seconds,
        HOLDERS: limits.leftover_seconds,
        DOCTOR: limits.leftover_seconds,
        TRASH: limits.grace_seconds,
    }
    removed = 0
    for name, age in ages.items():
        for entry in _scan(folder.path(name)):
            with suppress(OSError):
                # The change time: renaming into the trash leaves the modification time as it was.
                if moment - entry.stat(follow_symlinks=False).st_ctime > age:
                    ops.unlink(entry.path)
                    removed += 1
    return removed


def _trashed(folder: Folder, path: str, ops: FileOps) -> str:
    target = folder.path(TRASH, secrets.token_hex(12))
    ops.replace(path, target)
    return target


def _entries(folder: Folder, progress: Progress | None) -> Iterator[os.DirEntry[str]]:
    shards, files = list(_scan(folder.path(ENTRIES))), 0
    for number, shard in enumerate(shards, 1):
        for entry in _scan(shard.path):
            files += 1
            yield entry
        if progress:
            progress(number / len(shards), files)


def _scan(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            yield from found
    except (FileNotFoundError, NotADirectoryError):
        return
