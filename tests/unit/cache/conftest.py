# SPDX-License-Identifier: Apache-2.0
"""Caches over temporary folders, and file operations that fail."""

from __future__ import annotations

import errno
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from slipway_server.cache.config import CacheConfig
from slipway_server.cache.fileops import FileOps
from slipway_server.cache.shared import SharedCache
from slipway_server.cache.store import DiskStore
from slipway_server.config import load_settings


class FaultyOps(FileOps):
    """Real file operations, some of which raise an errno or hang until `recover`."""

    def __init__(self) -> None:
        self.faults: dict[str, int] = {}
        self.hanging: set[str] = set()
        self.calls: dict[str, int] = {}
        self._recovered = threading.Event()

    def recover(self) -> None:
        """End all faults and let go of what hangs."""
        self.faults.clear()
        self.hanging.clear()
        self._recovered.set()

    def _pass(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if name in self.faults:
            raise OSError(self.faults[name], errno.errorcode[self.faults[name]])
        if name in self.hanging:
            self._recovered.wait(30)

    def read(self, path: str) -> bytes:
        self._pass("read")
        return super().read(path)

    def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
        self._pass("create")
        super().create(path, data, mode=mode, fsync=fsync)

    def overwrite(self, path: str, data: bytes, *, mode: int) -> None:
        self._pass("overwrite")
        super().overwrite(path, data, mode=mode)

    def replace(self, source: str, target: str) -> None:
        self._pass("replace")
        super().replace(source, target)

    def unlink(self, path: str) -> None:
        self._pass("unlink")
        super().unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        self._pass("mkdir")
        super().mkdir(path, mode)


@pytest.fixture
def ops() -> FaultyOps:
    """File operations to put faults into."""
    return FaultyOps()


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., CacheConfig]:
    """Cache configuration over the test's folder, patient with a busy machine, with overrides by settings' names."""

    def make(**overrides: Any) -> CacheConfig:
        values = {"cache_dir": tmp_path / "volume", "cache_timeout_seconds": 10.0, **overrides}
        return CacheConfig.from_settings(load_settings(values, environ={}))

    return make


@pytest.fixture
async def caches(config: Callable[..., CacheConfig], ops: FaultyOps) -> AsyncIterator[Callable[..., SharedCache]]:
    """Opens caches, each as another pod would; they are closed after the test."""
    opened: list[SharedCache] = []

    def make(file_ops: FileOps | None = None, **overrides: Any) -> SharedCache:
        made = config(**overrides)
        shared = SharedCache(made, DiskStore(made.folder, ttl_seconds=made.ttl_seconds, ops=file_ops))
        opened.append(shared)
        return shared

    yield make
    ops.recover()
    for shared in opened:
        await shared.aclose()
