# SPDX-License-Identifier: Apache-2.0
"""One file per entry: written aside, then renamed into place; nothing is locked, indexed or changed in place.

    store = DiskStore(Path("/cache"))
    store.put(digest, value)
    store.get(digest)          # the value, or a Miss

The pattern is that of Maildir, git's objects and Bazel's disk cache. A reader sees a whole entry or none; a torn,
damaged or foreign file is a miss and is overwritten by the next put. Blocking: `volume` runs it in its own threads.
"""

from __future__ import annotations

import errno
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from slipway_server.cache import record
from slipway_server.cache.fileops import FileOps
from slipway_server.cache.folder import TEMPORARY, Folder, prepare
from slipway_server.cache.record import Miss, Record

_REASONS = {
    errno.ENOSPC: Miss.FULL,
    errno.EDQUOT: Miss.FULL,
    errno.EACCES: Miss.DENIED,
    errno.EPERM: Miss.DENIED,
    errno.EROFS: Miss.DENIED,
    errno.ESTALE: Miss.STALE,
    errno.ENOENT: Miss.ABSENT,
    errno.ENOTDIR: Miss.ABSENT,
    errno.ETIMEDOUT: Miss.TIMEOUT,
}


def reason_of(error: OSError) -> Miss:
    """The kind of a fault of the volume."""
    return _REASONS.get(error.errno or 0, Miss.IO)


class DiskStore:
    """Entries of one volume.

    Args:
        volume: The volume's folder; `slipway/` is made in it at the first use.
        ttl_seconds: Age at which an entry is no longer given out; None means never.
        fsync: Write through to the disk before publishing. Without it a power loss may tear recent entries: misses.
        clock: Unix seconds.
    """

    def __init__(
        self,
        volume: Path,
        *,
        ttl_seconds: float | None = None,
        fsync: bool = False,
        ops: FileOps | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._volume = volume
        self._ttl = ttl_seconds
        self._fsync = fsync
        self._clock = clock
        self._folder: Folder | None = None
        self.ops = ops or FileOps()

    @property
    def folder(self) -> Folder:
        """The folder on the volume, made if missing. Raises ConfigInvalid and OSError."""
        if self._folder is None:
            self._folder = prepare(self._volume, self.ops)
        return self._folder

    def get(self, digest: str) -> bytes | Miss:
        """The value stored under `digest`, or why there is none. Raises ConfigInvalid for an open folder only."""
        try:
            data = self.read(self.folder.entry(digest))
        except OSError as error:
            return reason_of(error)
        found = record.decode(data, digest)
        if isinstance(found, Record):
            return found.value if self._fresh(found.created) else Miss.EXPIRED
        return found

    def put(self, digest: str, value: bytes) -> None:
        """Store `value`. Raises OSError; then nothing changed."""
        data = record.encode(digest, value, self._clock())
        temporary = self.temporary()
        try:
            self.ops.create(temporary, data, mode=self.folder.file_mode, fsync=self._fsync)
        except FileNotFoundError:  # somebody removed the folder
            self._folder = None
            temporary = self.temporary()
            self.ops.create(temporary, data, mode=self.folder.file_mode, fsync=self._fsync)
        try:
            self._publish(temporary, self.folder.entry(digest))
        except OSError:
            with suppress(OSError):
                self.ops.unlink(temporary)
            raise

    def refresh(self, digest: str) -> None:
        """Make this host forget that the entry was absent.

        An NFS client may remember a failed look-up for up to a minute; a change of the folder by itself ends that.
        """
        marker = f"{self.folder.entry(digest)}.{secrets.token_hex(8)}"
        try:
            self.ops.create(marker, b"", mode=self.folder.file_mode, fsync=False)
            self.ops.unlink(marker)
        except OSError:
            return

    def read(self, path: str) -> bytes:
        """A file of this volume, looked up anew where another host replaced it after this one had looked it up."""
        try:
            return self.ops.read(path)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return self.ops.read(path)

    def temporary(self) -> str:
        """A new path on the volume, for a file being written."""
        return self.folder.path(TEMPORARY, secrets.token_hex(12))

    def _publish(self, temporary: str, path: str) -> None:
        try:
            self.ops.replace(temporary, path)
        except FileNotFoundError:
            self.ops.mkdir(path.rpartition("/")[0], self.folder.folder_mode)
            self.ops.replace(temporary, path)

    def _fresh(self, created: float) -> bool:
        return self._ttl is None or self._clock() - created < self._ttl
