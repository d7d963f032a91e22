# SPDX-License-Identifier: Apache-2.0
"""Two examiners on one folder agree that a local disk is fine, and see what a bad volume does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slipway_server.cache import doctor
from slipway_server.cache.doctor import Finding, examine
from slipway_server.cache.fileops import FileOps
from slipway_server.cache.store import DiskStore


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "RENAME_SECONDS", 0.3)
    monkeypatch.setattr(doctor, "ROUNDS", 5)
    monkeypatch.setattr(doctor, "CHANGE_SECONDS", 0.3)
    monkeypatch.setattr(doctor, "ABSENT_SECONDS", 0.3)


def together(path: Path, ops: type[FileOps]) -> tuple[list[Finding], list[Finding]]:
    with ThreadPoolExecutor(2) as pool:
        one, two = (pool.submit(examine, DiskStore(path, ops=ops()), wait_seconds=20) for _ in range(2))
        return one.result() or [], two.result() or []


def test_a_local_disk_is_fine(tmp_path: Path) -> None:
    one, two = together(tmp_path, FileOps)
    assert one == two
    assert [finding.name for finding in one] == [
        "atomic rename",
        "close-to-open",
        "exclusive create",
        "changes in place",
        "absence is not remembered",
        "times",
    ]
    assert [finding.ok for finding in one] == [True] * 6
    assert list((tmp_path / "slipway/doctor").iterdir()) == []
    assert [path for path in (tmp_path / "slipway/v1").rglob("*") if path.is_file()] == []


class NoExclusiveCreate(FileOps):
    def create(self, path: str, data: bytes, *, mode: int, fsync: bool) -> None:
        if ".race" in path and Path(path).exists():
            return
        super().create(path, data, mode=mode, fsync=fsync)


class CopyingRename(FileOps):
    def replace(self, source: str, target: str) -> None:
        if not target.endswith(".rename"):
            super().replace(source, target)
            return
        with Path(source).open("rb") as read, Path(target).open("wb") as write:
            while part := read.read(512):
                write.write(part)
                write.flush()
        self.unlink(source)


class LosesEntries(FileOps):
    def read(self, path: str) -> bytes:
        if "/v1/" in path:
            raise FileNotFoundError(2, "gone")
        return super().read(path)


@pytest.mark.parametrize(
    ("ops", "name"),
    [(NoExclusiveCreate, "exclusive create"), (CopyingRename, "atomic rename"), (LosesEntries, "close-to-open")],
)
def test_a_bad_volume_is_told(tmp_path: Path, ops: type[FileOps], name: str) -> None:
    one, _ = together(tmp_path, ops)
    assert name in {finding.name for finding in one if finding.needed and not finding.ok}


def test_nobody_comes(tmp_path: Path) -> None:
    assert examine(DiskStore(tmp_path), wait_seconds=0.1) is None


def test_somebody_who_died_waiting_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway_server.cache.rendezvous._REPLY_SECONDS", 0.1)
    store = DiskStore(tmp_path)
    Path(store.folder.path("doctor")).mkdir()
    Path(store.folder.path("doctor", "waiting")).write_bytes(b"dead")
    assert [finding.ok for finding in together(tmp_path, FileOps)[0]] == [True] * 6
