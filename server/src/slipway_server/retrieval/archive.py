# SPDX-License-Identifier: Apache-2.0
"""Embedded collections on disk: one immutable archive per version and a pointer to the current one.

    <data_dir>/collections/docs/docs-1a2b3c4d.tar.gz
    <data_dir>/collections/docs/current.json

A shard's folder is sparse (101 MB for 6 MB of data), so an archive is a compressed sparse tar file, as GNU tar's.
Both files appear by rename, after fsync: a reader sees the old version or the new one. Everything here blocks.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from slipway_server.errors import CollectionMissing, ConfigInvalid, DataCorrupt, RetrievalUnavailable
from slipway_server.retrieval.version import Version

POINTER = "current.json"
SUFFIX = ".tar.gz"
COMPRESSION = 3


@dataclass(frozen=True, slots=True)
class Published:
    """What a pointer says: the version, the SHA-256 of its archive and the version before it."""

    version: Version
    sha256: str
    previous: str = ""


def home(data_dir: Path, collection: str) -> Path:
    """Folder of a collection's versions."""
    return data_dir / "collections" / collection


def archive_path(data_dir: Path, version: Version) -> Path:
    """File of a version."""
    return home(data_dir, version.collection) / f"{version.name}{SUFFIX}"


def current(data_dir: Path, collection: str) -> Published | None:
    """What the pointer names; None where the collection does not exist. Raises DataCorrupt."""
    path = home(data_dir, collection) / POINTER
    try:
        stored = json.loads(path.read_bytes())
        return Published(Version.from_json(stored["version"]), str(stored["sha256"]), str(stored["previous"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise DataCorrupt(f"{path} is damaged; run `slipway ingest` again", collection=collection) from None


def publish(shard_folder: Path, data_dir: Path, version: Version) -> Published:
    """Pack a closed shard, switch the pointer to it and remove versions older than the one before it.

    Raises ConfigInvalid where the data directory cannot be written; then nothing has changed.
    """
    try:
        return _publish(shard_folder, data_dir, version)
    except OSError as error:
        raise ConfigInvalid(
            f"SLIPWAY_DATA_DIR: {data_dir} cannot be written ({error.strerror})", key="SLIPWAY_DATA_DIR"
        ) from error


def _publish(shard_folder: Path, data_dir: Path, version: Version) -> Published:
    folder = home(data_dir, version.collection)
    folder.mkdir(parents=True, exist_ok=True)
    previous = _previous(data_dir, version)
    with _appearing(archive_path(data_dir, version)) as file:
        _pack(shard_folder, file)
    digest = _sha256(archive_path(data_dir, version))
    published = Published(version, digest, previous)
    facts = {"version": version.as_json(), "sha256": digest, "previous": previous}
    with _appearing(folder / POINTER) as file:
        file.write(json.dumps(facts, indent=1).encode())
    for old in folder.glob(f"*{SUFFIX}"):
        if old.name.removesuffix(SUFFIX) not in (version.name, previous):
            old.unlink(missing_ok=True)
    return published


def _previous(data_dir: Path, version: Version) -> str:
    """Name of the version that `version` follows, which stays; empty where none does, or the pointer is damaged."""
    try:
        before = current(data_dir, version.collection)
    except DataCorrupt:
        return ""
    if before is None:
        return ""
    # A version that is published again, since its archive was damaged, still follows the same one.
    return before.previous if before.version.digest == version.digest else before.version.name


def intact(data_dir: Path, collection: str) -> bool:
    """Whether the current version's archive is there and matches its checksum."""
    published = current(data_dir, collection)
    try:
        return published is not None and _sha256(archive_path(data_dir, published.version)) == published.sha256
    except OSError:
        return False


def unpack(data_dir: Path, published: Published, target: Path) -> None:
    """Unpack a version's shard into `target`. Raises CollectionMissing, DataCorrupt, RetrievalUnavailable."""
    path = archive_path(data_dir, published.version)
    try:
        if _sha256(path) != published.sha256:
            raise DataCorrupt(
                f"{path} differs from its checksum; run `slipway ingest` again",
                collection=published.version.collection,
            )
        with tarfile.open(path, mode="r:gz") as tar:
            for member in tar:
                _extract(tar, member, target)
    except FileNotFoundError:
        raise CollectionMissing(
            f"Collection {published.version.name} has no archive at {path}; run `slipway ingest` again",
            collection=published.version.collection,
        ) from None
    except OSError as error:
        raise RetrievalUnavailable(
            f"Collection {published.version.name} cannot be unpacked into {target.parent} ({error.strerror}); it needs "
            "a disk with room, SLIPWAY_SCRATCH_DIR"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(folder: Path, file: IO[bytes]) -> None:
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                _add(tar, path, path.relative_to(folder).as_posix())


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add one file without its holes, in GNU tar's sparse format 1.0: a map of extents, then their bytes."""
    with path.open("rb") as source:
        size = path.stat().st_size
        extents = list(_extents(source, size))
        numbers = [len(extents), *(number for extent in extents for number in extent)]
        head = "".join(f"{number}\n" for number in numbers).encode()
        head += bytes(-len(head) % tarfile.BLOCKSIZE)
        member = tarfile.TarInfo(name)
        member.size = len(head) + sum(length for _, length in extents)
        member.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": name,
            "GNU.sparse.realsize": str(size),
        }
        tar.addfile(member, io.BytesIO(head + b"".join(_bytes(source, *extent) for extent in extents)))


def _extents(source: IO[bytes], size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of what is not a hole; the whole file where the file system knows none."""
    position = 0
    while position < size:
        try:
            start = os.lseek(source.fileno(), position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        position = os.lseek(source.fileno(), start, os.SEEK_HOLE)
        yield start, position - start


def _bytes(source: IO[bytes], start: int, length: int) -> bytes:
    source.seek(start)
    return source.read(length)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write one file; tarfile leaves the holes of a sparse member."""
    path = (target / member.name).resolve()
    if not member.isfile() or not path.is_relative_to(target.resolve()):
        raise DataCorrupt(f"The archive has an entry that no shard has: {member.name[:80]!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    tar.makefile(member, path)


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that appears under `path`, whole and on disk, or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        temporary = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
