# SPDX-License-Identifier: Apache-2.0
"""Files that are written once, whoever else may try at the same time, on this machine or another.

write_once(folder / "3f2a.json", content)       # True; False where it was there already
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from slipway_server.artifacts.files import sync_folder

DRAFT = "."
"""What the names of unfinished files begin with; a killed process leaves its own."""


def write_once(path: Path, content: bytes, *, mode: int = 0o644) -> bool:
    """Write `path` unless it exists; returns whether this call wrote it. Readers see nothing of it, or all.

    No lock is needed: link(2) to an existing name fails, so that one of several writers wins. When this returns, file
    and name survive the loss of the machine. Raises OSError; nothing is left behind then.
    """
    draft = path.with_name(f"{DRAFT}{path.name}.{uuid.uuid4().hex}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not _linked(draft, path):
            return False
    finally:
        with suppress(OSError):
            draft.unlink()
    sync_folder(path.parent)
    return True


def _linked(draft: Path, path: Path) -> bool:
    """Where the answer to a link is lost, NFS asks again and is refused; the count of links tells (open(2), O_EXCL)."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return draft.stat().st_nlink > 1
    return True
