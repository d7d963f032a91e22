# SPDX-License-Identifier: Apache-2.0
"""Reading and writing the two files of an artifact."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from slipway_server.artifacts.manifest import manifest_path
from slipway_server.errors import ArtifactMissing

MAX_BYTES = 1024 * 1024
"""Of a ConfigMap, which holds both files (kubernetes.io/docs/concepts/configuration/configmap)."""


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
    _sync_folder(path.parent)


def write_pair(artifact: Path, state: bytes, manifest: bytes) -> None:
    """Write the manifest, then the artifact: where writing stops between the two there is no artifact to be found."""
    write_atomic(manifest_path(artifact), manifest)
    write_atomic(artifact, state)


def read_pair(artifact: Path) -> tuple[bytes, bytes]:
    """The bytes of artifact and manifest, each cut behind MAX_BYTES. Raises ArtifactMissing."""
    try:
        state = _read(artifact)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise ArtifactMissing(f"cannot be read in {artifact.absolute().parent} ({reason})") from None
    try:
        return state, _read(manifest_path(artifact))
    except OSError:
        raise ArtifactMissing(
            f"has no manifest beside it ({manifest_path(artifact).name}); "
            "`slipway artifact adopt` writes one for a file that DSPy saved"
        ) from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
