# SPDX-License-Identifier: Apache-2.0
"""Published versions: whole or not there, holes kept, damage seen, old ones removed."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from pathlib import Path

import pytest

from slipway_server.errors import CollectionMissing, ConfigInvalid, DataCorrupt, RetrievalUnavailable
from slipway_server.retrieval import archive
from slipway_server.retrieval.version import Version


def version(number: int) -> Version:
    return Version("docs", f"{number:064d}"[::-1], "offline/bm25", 0, 1)


@pytest.fixture
def shard_folder(tmp_path: Path) -> Path:
    """A file with data, a hole of 8 MB and data."""
    folder = tmp_path / "shard"
    (folder / "sub").mkdir(parents=True)
    with (folder / "sub" / "sparse.dat").open("wb") as file:
        file.write(b"head")
        file.seek(8 << 20)
        file.write(b"tail")
        file.truncate(9 << 20)
    (folder / "empty").write_bytes(b"")
    return folder


def test_a_round_trip_keeps_bytes_and_holes(tmp_path: Path, shard_folder: Path) -> None:
    published = archive.publish(shard_folder, tmp_path, version(1))
    assert archive.current(tmp_path, "docs") == published
    packed = archive.archive_path(tmp_path, version(1))
    assert packed.stat().st_size < 50_000
    archive.unpack(tmp_path, published, tmp_path / "copy")
    original, copy = shard_folder / "sub" / "sparse.dat", tmp_path / "copy" / "sub" / "sparse.dat"
    assert copy.read_bytes() == original.read_bytes()
    assert copy.stat().st_blocks * 512 < 1 << 20
    assert (tmp_path / "copy" / "empty").read_bytes() == b""


def test_the_version_before_stays_and_older_ones_go(tmp_path: Path, shard_folder: Path) -> None:
    for number in range(4):
        archive.publish(shard_folder, tmp_path, version(number))
    names = {path.name for path in archive.home(tmp_path, "docs").iterdir()}
    assert names == {archive.POINTER, *(archive.archive_path(tmp_path, version(n)).name for n in (2, 3))}


def test_a_damaged_archive_is_never_unpacked(tmp_path: Path, shard_folder: Path) -> None:
    published = archive.publish(shard_folder, tmp_path, version(1))
    packed = archive.archive_path(tmp_path, version(1))
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    packed.write_bytes(content)
    assert not archive.intact(tmp_path, "docs")
    with pytest.raises(DataCorrupt, match="differs from its checksum"):
        archive.unpack(tmp_path, published, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_missing_archive_is_a_missing_collection(tmp_path: Path, shard_folder: Path) -> None:
    published = archive.publish(shard_folder, tmp_path, version(1))
    archive.archive_path(tmp_path, version(1)).unlink()
    assert not archive.intact(tmp_path, "docs")
    with pytest.raises(CollectionMissing, match="has no archive"):
        archive.unpack(tmp_path, published, tmp_path / "copy")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": {}}', b"\xff"])
def test_a_damaged_pointer_says_so(tmp_path: Path, content: bytes) -> None:
    archive.home(tmp_path, "docs").mkdir(parents=True)
    (archive.home(tmp_path, "docs") / archive.POINTER).write_bytes(content)
    with pytest.raises(DataCorrupt, match="is damaged"):
        archive.current(tmp_path, "docs")


def test_publishing_mends_a_damaged_pointer(tmp_path: Path, shard_folder: Path) -> None:
    archive.publish(shard_folder, tmp_path, version(1))
    (archive.home(tmp_path, "docs") / archive.POINTER).write_bytes(b"{")
    published = archive.publish(shard_folder, tmp_path, version(2))
    assert archive.current(tmp_path, "docs") == published
    assert archive.intact(tmp_path, "docs")


def test_publishing_a_version_again_keeps_the_one_before_it(tmp_path: Path, shard_folder: Path) -> None:
    archive.publish(shard_folder, tmp_path, version(1))
    archive.publish(shard_folder, tmp_path, version(2))
    assert archive.publish(shard_folder, tmp_path, version(2)).previous == version(1).name
    assert archive.archive_path(tmp_path, version(1)).exists()


def test_a_failed_publish_leaves_the_old_version(tmp_path: Path, shard_folder: Path) -> None:
    before = archive.publish(shard_folder, tmp_path, version(1))
    (shard_folder / "broken").symlink_to(shard_folder / "broken")
    (shard_folder / "sub" / "sparse.dat").unlink()
    (shard_folder / "sub").rmdir()
    (shard_folder / "empty").unlink()
    (shard_folder / "data").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", _full_disk)
        with pytest.raises(ConfigInvalid, match=r"SLIPWAY_DATA_DIR: .* cannot be written \(No space left on device\)"):
            archive.publish(shard_folder, tmp_path, version(2))
    assert archive.current(tmp_path, "docs") == before
    assert archive.intact(tmp_path, "docs")
    assert not list(archive.home(tmp_path, "docs").glob(".*"))


def _full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_scratch_disk_names_the_remedy(
    tmp_path: Path, shard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = archive.publish(shard_folder, tmp_path, version(1))
    monkeypatch.setattr(tarfile.TarFile, "makefile", _full_disk)
    with pytest.raises(RetrievalUnavailable, match="SLIPWAY_SCRATCH_DIR"):
        archive.unpack(tmp_path, published, tmp_path / "copy")


@pytest.mark.parametrize("name", ["../outside", "/etc/outside"])
def test_an_entry_outside_the_folder_is_refused(tmp_path: Path, shard_folder: Path, name: str) -> None:
    archive.publish(shard_folder, tmp_path, version(1))
    packed = archive.archive_path(tmp_path, version(1))
    with tarfile.open(packed, "w:gz") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    published = archive.Published(version(1), archive._sha256(packed))
    with pytest.raises(DataCorrupt, match="an entry that no shard has"):
        archive.unpack(tmp_path, published, tmp_path / "copy" / "deep")
    assert not (tmp_path / "copy" / "outside").exists()
