# SPDX-License-Identifier: Apache-2.0
"""The folder `slipway/` on the volume: who may read it, and where what is kept.

    v1/ab/cdef…          entries, by digest
    tmp/                 files being written
    trash/               files being deleted
    leases/, holders/    who is making which entry, and whether they live

Whoever may write here decides what the pods answer, so the folder is for one user (0700), or for one group (2770) where
the volume's own folder hands its group down (setgid, as Kubernetes' fsGroup sets it).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from slipway_server.cache.fileops import FileOps
from slipway_server.errors import ConfigInvalid

ENTRIES, TEMPORARY, TRASH, LEASES, HOLDERS, DOCTOR = "v1", "tmp", "trash", "leases", "holders", "doctor"


@dataclass(frozen=True, slots=True)
class Folder:
    """The paths, and the modes of new files and folders."""

    root: str
    file_mode: int = 0o600
    folder_mode: int = 0o700

    def path(self, *parts: str) -> str:
        """A path below the root."""
        return "/".join((self.root, *parts))

    def entry(self, digest: str) -> str:
        """Where the entry of this digest is."""
        return f"{self.root}/{ENTRIES}/{digest[:2]}/{digest[2:]}"


def prepare(volume: Path, ops: FileOps) -> Folder:
    """Make what is missing.

    Raises:
        ConfigInvalid: `slipway/` can be written by everybody.
        OSError: the volume is away, full or read-only.
    """
    volume.mkdir(parents=True, exist_ok=True)
    shared = bool(ops.mode(str(volume)) & stat.S_ISGID)
    folder = Folder(str(volume / "slipway"), 0o660 if shared else 0o600, 0o2770 if shared else 0o700)
    ops.mkdir(folder.root, folder.folder_mode)
    refuse_world_writable(folder, ops)
    for name in (ENTRIES, TEMPORARY, TRASH, LEASES, HOLDERS):
        ops.mkdir(folder.path(name), folder.folder_mode)
    return folder


def refuse_world_writable(folder: Folder, ops: FileOps) -> None:
    """Raises ConfigInvalid where everybody may write to the folder."""
    mode = ops.mode(folder.root)
    if mode & stat.S_IWOTH:
        raise ConfigInvalid(
            f"{folder.root} is writable by everybody (mode {stat.S_IMODE(mode):o}), so anybody could plant answers; "
            "chmod it to 700, or mount the volume with dir_mode=0770",
            path=folder.root,
        )
