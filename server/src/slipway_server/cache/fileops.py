# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PTH101, PTH102, PTH105, PTH108, PTH116
"""The few file operations that the cache makes, each of which may fail or hang on a network volume.

One small class, so that tests can put faults into any of them. Paths are strings:
making a Path object costs more than reading a file from the page cache.
"""

from __future__ import annotations

import os
from contextlib import suppress

LARGEST_FILE = 64 * 1024 * 1024
"""Bytes. A larger file is not ours; it is not read into memory."""

CHUNK = 32 * 1024
"""Most entries are read at once; asking for the size first would cost as much as reading."""


class FileOps:
    """Plain POSIX calls; every method raises OSError."""

    def read(self, path: str) -> bytes:
        """The whole file; of one larger than LARGEST_FILE only a part."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            data = part = os.read(fd, CHUNK)
            while len(part) == CHUNK and len(data) < LARGEST_FILE:
                part = os.read(fd, CHUNK)
                data += part
            return data
        finally:
            os.close(fd)

    def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
        """Write a new file; FileExistsError where there is one. Closing is part of it: some volumes report there."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            self._write(fd, data)
            if fsync:
                os.fsync(fd)
        except BaseException:
            with suppress(OSError):
                os.close(fd)
            with suppress(OSError):
                os.unlink(path)
            raise
        try:
            os.close(fd)
        except OSError:
            with suppress(OSError):
                os.unlink(path)
            raise

    def overwrite(self, path: str, data: bytes, *, mode: int) -> None:
        """Replace the content of the one file that only this process writes; readers may see any part of it."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            self._write(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, source: str, target: str) -> None:
        """Atomic rename within the volume."""
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        """Make a folder with exactly this mode; an existing one is left as it is."""
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            return
        os.chmod(path, mode)

    def mode(self, path: str) -> int:
        """Permission bits of a folder."""
        return os.stat(path).st_mode

    def _write(self, fd: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
