# SPDX-License-Identifier: Apache-2.0
"""Reading and writing the two files of an artifact. The artifact itself may be gzipped: `NAME.json.gz`."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slipway_server.artifacts.manifest import GZIP_SUFFIX, manifest_path
from slipway_server.errors import ArtifactInvalid, ArtifactMissing

MAX_BYTES = 1024 * 1024
"""Of a ConfigMap, which holds both files (kubernetes.io/docs/concepts/configuration/configmap)."""

MAX_CONTENT_BYTES = 16 * MAX_BYTES
"""Of an artifact's content, wherever it lies; a small gzip file may hold a very large one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Content of artifact and manifest, and what both take on disk, in bytes."""

    state: bytes
    manifest: bytes
    stored_bytes: int

    @property
    def gzipped_bytes(self) -> int:
        """What both take with the artifact gzipped, computed now."""
        return len(gzip.compress(self.state, mtime=0)) + len(self.manifest)


def write_atomic(path: Path, content: bytes) -> None:
    """Write `path` so that a reader, or a crash, sees the old content or the new one: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def write_pair(artifact: Path, state: bytes, manifest: bytes) -> None:
    """Write the manifest, then the artifact: where writing stops between the two there is no artifact to be found."""
    write_atomic(manifest_path(artifact), manifest)
    write_atomic(artifact, state)


def read_pair(artifact: Path) -> Pair:
    """Artifact and manifest, nothing read beyond the limits above. Raises ArtifactMissing, ArtifactInvalid."""
    try:
        stored = _read(artifact, MAX_CONTENT_BYTES)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise ArtifactMissing(f"cannot be read in {artifact.absolute().parent} ({reason})") from None
    try:
        manifest = _read(manifest_path(artifact), MAX_BYTES)
    except OSError:
        raise ArtifactMissing(
            f"has no manifest beside it ({manifest_path(artifact).name}); "
            "`slipway artifact adopt` writes one for a file that DSPy saved"
        ) from None
    state = _unzipped(stored) if artifact.name.endswith(GZIP_SUFFIX) else stored
    return Pair(state, manifest, len(stored) + len(manifest))


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)


def _unzipped(stored: bytes) -> bytes:
    """The content of one gzip member, cut behind the limit. Raises ArtifactInvalid where it is none, or torn."""
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        content = reader.decompress(stored, MAX_CONTENT_BYTES + 1)
    except zlib.error:
        raise ArtifactInvalid("is not gzip, although its name ends in .gz, or is damaged") from None
    if not reader.eof and len(content) <= MAX_CONTENT_BYTES:
        raise ArtifactInvalid("is truncated gzip; take the file again from where it was built")
    return content


def sync_folder(folder: Path) -> None:
    """Make the names of files in `folder` survive the loss of the machine. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
