# SPDX-License-Identifier: Apache-2.0
"""Watching files that others replace: a ConfigMap mounted as a folder, a store's pointer, an artifact.

    watched = Watched(folder / "routing.json")
    if watched.changed(): content = watched.read()

Kubernetes swaps a mounted ConfigMap by moving the link `..data`, which no watch on the file itself notices, and network
file systems report nothing at all; so this looks, every few seconds, at what the path resolves to.
"""

from __future__ import annotations

from pathlib import Path


class Watched:
    """A file by name. Blocking: for worker threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: object = None

    def changed(self) -> bool:
        """Whether it is another file, or another content, than at the last call; the first call says True."""
        now = self._identity()
        if now == self._seen:
            return False
        self._seen = now
        return True

    def forget(self) -> None:
        """Let the next `changed` say True, so that what failed is tried again."""
        self._seen = None

    def read(self) -> bytes | None:
        """The content, or None where there is no file."""
        try:
            return self.path.read_bytes()
        except OSError:
            return None

    def _identity(self) -> object:
        try:
            real = self.path.resolve()
            status = real.stat()
        except (OSError, RuntimeError):  # the latter of links in a circle
            return "missing"
        return (str(real), status.st_ino, status.st_mtime_ns, status.st_size)
