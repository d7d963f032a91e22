# SPDX-License-Identifier: Apache-2.0
"""Vectors that an unfinished ingest has paid for: an EntryStore of one file per key, cleared when it is done."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from pathlib import Path

_CHECK = 16


class Staging:
    """Bytes by key under `folder`. A file that does not match its checksum is a miss; a failed write is dropped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def get(self, key: str) -> bytes | None:
        """The value stored under `key`, or None."""
        return await asyncio.to_thread(self._get, key)

    async def put(self, key: str, value: bytes) -> None:
        """Store `value` under `key`."""
        await asyncio.to_thread(self._put, key, value)

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _get(self, key: str) -> bytes | None:
        try:
            stored = self._path(key).read_bytes()
        except OSError:
            return None
        check, value = stored[:_CHECK], stored[_CHECK:]
        return value if check == _checksum(value) else None

    def _put(self, key: str, value: bytes) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                file.write(_checksum(value) + value)
            Path(file.name).replace(path)
        except OSError:
            return

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / name[:2] / name


def _checksum(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_CHECK).digest()
