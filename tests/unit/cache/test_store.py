# SPDX-License-Identifier: Apache-2.0
"""One file per entry: published whole, private, healed by the next put."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from slipway_server.cache.fileops import FileOps
from slipway_server.cache.record import Miss
from slipway_server.cache.shared import SharedCache
from slipway_server.cache.store import DiskStore
from slipway_server.errors import ConfigInvalid

DIGEST = "ab" * 32


@pytest.fixture
def store(tmp_path: Path, ops) -> DiskStore:
    return DiskStore(tmp_path / "volume", ops=ops)


def files(path: Path) -> list[Path]:
    return [found for found in path.rglob("*") if found.is_file()]


def test_one_file_per_entry(store: DiskStore, tmp_path: Path) -> None:
    assert store.get(DIGEST) is Miss.ABSENT
    store.put(DIGEST, b"one")
    store.put(DIGEST, b"two")
    assert store.get(DIGEST) == b"two"
    assert files(tmp_path) == [tmp_path / "volume/slipway/v1/ab" / DIGEST[2:]]


def test_private_on_any_volume(store: DiskStore, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    store.put(DIGEST, b"x")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (volume / "slipway").rglob("*") if path.is_dir()} == {0o700}
    assert stat.S_IMODE((volume / "slipway").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(volume)} == {0o600}


def test_shared_with_the_group_where_the_volume_says_so(store: DiskStore, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o2775)
    store.put(DIGEST, b"x")
    folders = [volume / "slipway", *(path for path in (volume / "slipway").rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o2770}
    assert {path.stat().st_gid for path in folders} == {volume.stat().st_gid}


def test_a_world_writable_folder_is_refused(store: DiskStore, tmp_path: Path) -> None:
    folder = tmp_path / "volume" / "slipway"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(ConfigInvalid, match="writable by everybody"):
        store.get(DIGEST)


def test_a_damaged_entry_is_healed_by_the_next_put(store: DiskStore, tmp_path: Path) -> None:
    store.put(DIGEST, b"x" * 1000)
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:500])
    assert store.get(DIGEST) is Miss.TORN
    store.put(DIGEST, b"y")
    assert store.get(DIGEST) == b"y"


def test_an_entry_under_another_name_is_foreign(store: DiskStore, tmp_path: Path) -> None:
    store.put(DIGEST, b"x")
    files(tmp_path)[0].rename(tmp_path / "volume/slipway/v1/ab" / ("cd" * 31))
    assert store.get("ab" + "cd" * 31) is Miss.FOREIGN


def test_links_and_pipes_are_not_followed(store: DiskStore, tmp_path: Path) -> None:
    store.put(DIGEST, b"x")
    path = files(tmp_path)[0]
    secret = tmp_path / "secret"
    path.rename(secret)
    path.symlink_to(secret)
    assert store.get(DIGEST) is Miss.IO
    path.unlink()
    os.mkfifo(path)
    assert isinstance(store.get(DIGEST), Miss)


def test_ttl(tmp_path: Path) -> None:
    now = [1000.0]
    store = DiskStore(tmp_path, ttl_seconds=60, clock=lambda: now[0])
    store.put(DIGEST, b"x")
    now[0] += 59
    assert store.get(DIGEST) == b"x"
    now[0] += 1
    assert store.get(DIGEST) is Miss.EXPIRED


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EIO, Miss.IO),
        (errno.ESTALE, Miss.STALE),
        (errno.EACCES, Miss.DENIED),
        (errno.ENOSPC, Miss.FULL),
        (errno.ENOENT, Miss.ABSENT),
    ],
)
def test_faults_of_reads_are_misses(store: DiskStore, ops, number: int, reason: Miss) -> None:
    store.put(DIGEST, b"x")
    ops.faults["read"] = number
    assert store.get(DIGEST) is reason
    ops.recover()
    assert store.get(DIGEST) == b"x"


@pytest.mark.parametrize("operation", ["create", "replace"])
def test_a_failed_put_changes_nothing(store: DiskStore, ops, tmp_path: Path, operation: str) -> None:
    store.put(DIGEST, b"old")
    ops.faults[operation] = errno.ENOSPC
    with pytest.raises(OSError, match="ENOSPC"):
        store.put(DIGEST, b"new")
    ops.recover()
    assert store.get(DIGEST) == b"old"
    assert len(files(tmp_path)) == 1


def test_the_folder_comes_back(store: DiskStore, tmp_path: Path) -> None:
    store.put(DIGEST, b"x")
    (tmp_path / "volume/slipway").rename(tmp_path / "elsewhere")
    assert store.get(DIGEST) is Miss.ABSENT
    store.put(DIGEST, b"y")
    assert store.get(DIGEST) == b"y"
    assert stat.S_IMODE((tmp_path / "volume/slipway").stat().st_mode) == 0o700


def test_a_file_whose_closing_fails_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network file systems report there what they could not write."""
    close = os.close

    def failing(fd: int) -> None:
        close(fd)
        raise OSError(errno.EDQUOT, "EDQUOT")

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", failing)
        with pytest.raises(OSError, match="EDQUOT"):
            FileOps().create(str(tmp_path / "file"), b"x", mode=0o600, fsync=False)
    assert files(tmp_path) == []


@pytest.mark.parametrize("fsync", [False, True])
async def test_entries_are_written_through_where_asked(
    config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    shared = SharedCache(config(cache_fsync=fsync))
    await shared.store.put("text", b"x")
    await shared.volume.flush()
    assert len(files(tmp_path)) == 1
    assert len(synced) == int(fsync)
    shared.volume.close()
