# SPDX-License-Identifier: Apache-2.0
"""Segments: files of framed lines, each written by one process and never by two.

    <folder>/requests/2026-11-20/<pod>-<start>-<number>.open      while it is written
    <folder>/requests/2026-11-20/<pod>-<start>-<number>.jsonl     when it is closed

No file is appended to by two hosts, because network file systems promise nothing for that (Linux NFS FAQ A9). A process
that was killed leaves its `.open` file; a reader takes it as it is, less the last line where that is torn.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway_server.artifacts.files import write_atomic
from slipway_server.traffic.framing import frame, values

OPEN, CLOSED = ".open", ".jsonl"
REQUESTS = "requests"
MODE = 0o600


class SegmentWriter:
    """One open segment at a time. Every method may raise OSError; the segment is then to be abandoned."""

    def __init__(self, folder: Path, started: float) -> None:
        self._folder = folder
        self._prefix = f"{_pod()}-{int(started * 1000):x}-{os.getpid():x}"
        self._number = 0
        self._handle: int | None = None
        self._path = Path()
        self.size_bytes = 0
        self.opened = 0.0
        """Time of the segment's first line."""

    @property
    def is_open(self) -> bool:
        """Whether there is a segment under way."""
        return self._handle is not None

    def append(self, lines: bytes, now: float) -> None:
        """Write whole lines; opens a segment where there is none."""
        if self._handle is None:
            self._open(now)
        assert self._handle is not None
        view = memoryview(lines)
        while view:
            view = view[os.write(self._handle, view) :]
        self.size_bytes += len(lines)

    def sync(self) -> None:
        """Make what was written survive the loss of the machine."""
        if self._handle is not None:
            os.fsync(self._handle)

    def close(self) -> Path | None:
        """Sync, close and rename to its final name, which is returned; None where nothing was open."""
        if self._handle is None:
            return None
        handle, self._handle = self._handle, None
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return self._path.rename(self._path.with_suffix(CLOSED))

    def abandon(self) -> None:
        """Close without hope, after a failure; what was written stays readable."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with suppress(OSError):
                os.close(handle)

    def _open(self, now: float) -> None:
        day = self._folder / datetime.fromtimestamp(now, UTC).date().isoformat()
        day.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._number += 1
        self._path = day / f"{self._prefix}-{self._number:06d}{OPEN}"
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
        self.size_bytes, self.opened = 0, now


@dataclass(slots=True)
class Damage:
    """What a reader met. `torn`: lines that are not whole. `unreadable`: files."""

    torn: int = 0
    unreadable: int = 0


def all_days(folder: Path) -> list[Path]:
    """Every day's folder, oldest first."""
    with suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if path.is_dir())
    return []


def segments(day: Path) -> list[Path]:
    """A day's segments, closed and open ones, in the order of their names."""
    with suppress(FileNotFoundError):
        return sorted(path for path in day.iterdir() if path.suffix in (OPEN, CLOSED))
    return []


def read(path: Path, damage: Damage) -> Iterator[Any]:
    """The values of a segment's whole lines; what is not whole is counted."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        closed = path.with_suffix(CLOSED)
        if path.suffix == OPEN and closed.exists():
            yield from read(closed, damage)
        return
    except OSError:
        damage.unreadable += 1
        return
    for value in values(content):
        if value is None:
            damage.torn += 1
        else:
            yield value


def rewrite(path: Path, keep: Callable[[Any], bool]) -> int:
    """Drop the lines that `keep` refuses from a segment that nobody writes; returns how many. Empty ones are removed.

    A stale `.open` segment becomes a closed one.
    """
    try:
        written = path.stat()
    except FileNotFoundError:  # retention was here first
        return 0
    found = list(read(path, Damage()))
    kept = [value for value in found if keep(value)]
    closed = path.with_suffix(CLOSED)
    if len(kept) < len(found) or path != closed:
        if kept:
            write_atomic(closed, b"".join(frame(value) for value in kept))
            closed.chmod(MODE)
            os.utime(closed, (written.st_atime, written.st_mtime))  # retention goes by it
        else:
            closed.unlink(missing_ok=True)
        if path != closed:
            path.unlink(missing_ok=True)
    return len(found) - len(kept)


def _pod() -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:60] or "pod"
