# SPDX-License-Identifier: Apache-2.0
"""Folders that belong to this process alone, and are swept once their process is gone.

Everything here blocks its thread.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType

from slipway_server.errors import ConfigInvalid

PREFIX = "slipway-"
LOCK_FILE = ".owner"
STALE_SECONDS = 60.0
"""A folder younger than this is left alone: its owner may not have locked it yet."""


class Scratch:
    """A fresh folder under `root` (the system's default where None), removed by `close` or by the next sweep.

    with Scratch(settings.scratch_dir) as folder:
        …

    Raises ConfigInvalid where `root` cannot be written.

    The owner holds a lock on a file inside; the kernel drops it when the process ends, however it ends.
    """

    def __init__(self, root: Path | None) -> None:
        parent = root if root is not None else Path(tempfile.gettempdir())
        try:
            parent.mkdir(parents=True, exist_ok=True)
            sweep(parent)
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            self._lock = _locked(self.path)
        except OSError as error:
            raise ConfigInvalid(
                f"SLIPWAY_SCRATCH_DIR: {parent} cannot be used ({error.strerror})", key="SLIPWAY_SCRATCH_DIR"
            ) from error

    def close(self) -> None:
        """Remove the folder; harmless the second time."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _locked(folder: Path) -> int:
    """Handle of the folder's lock. Where there can be none, no sweep would ever take the folder: it goes at once."""
    handle = -1
    try:
        handle = os.open(folder / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        if handle >= 0:
            os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return handle


def sweep(parent: Path, *, older_than_seconds: float = STALE_SECONDS) -> int:
    """Remove the folders of processes that are gone; returns how many."""
    removed = 0
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime < older_than_seconds:
                continue
            lock = os.open(folder / LOCK_FILE, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        finally:
            os.close(lock)
    return removed
