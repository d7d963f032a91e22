# SPDX-License-Identifier: Apache-2.0
"""Volumes in trouble, for a process that a test starts: full ones and ones that hang.

    volume = FullDisk(folder)
    process = subprocess.Popen([*volume.command(), "slipway", "serve"])
    volume.spoil(process.pid)
    volume.mend(process.pid)

The mounted ones are the kernel's own, in a mount namespace of that process, which ends with it. As a script, this
mounts and becomes the command: `python volumes.py tmpfs FOLDER OPTIONS command …`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

NEW_NAMESPACE, PRIVATE = 0x20000, 0x44000
TMPFS, FUSE = ("tmpfs", "size=256k"), ("fuse", "fd={device},rootmode=40000,user_id=0,group_id=0")


class Volume:
    """A folder that works. `mount`: kind and options of what is mounted there."""

    mount: tuple[str, str] | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def command(self) -> tuple[str, ...]:
        """What precedes the process's own command."""
        if self.mount is None:
            return ()
        kind, options = self.mount
        return sys.executable, __file__, kind, str(self.folder), options

    def is_usable(self) -> bool:
        """Whether this system lets a test mount it."""
        return subprocess.run([*self.command(), "true"], capture_output=True, check=False).returncode == 0

    def seen_by(self, pid: int) -> Path:
        """The folder as that process has it."""
        return Path(f"/proc/{pid}/root{self.folder}") if self.mount else self.folder

    def spoil(self, pid: int) -> None:
        """Begin the trouble."""

    def mend(self, pid: int) -> None:
        """End it."""


class FullDisk(Volume):
    """A tmpfs of 256 KB; `spoil` fills it to the last byte."""

    mount = TMPFS

    def spoil(self, pid: int) -> None:
        handle = os.open(self.seen_by(pid) / "filler", os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(handle, bytes(4096)):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(handle)

    def mend(self, pid: int) -> None:
        (self.seen_by(pid) / "filler").unlink()


class FileLimit(Volume):
    """No file may grow (RLIMIT_FSIZE), also none of the cache: as a quota that is used up. Needs no rights."""

    def spoil(self, pid: int) -> None:
        self._limit(pid, 0)

    def mend(self, pid: int) -> None:
        self._limit(pid, self._most(pid))

    @staticmethod
    def _most(pid: int) -> int:
        return resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]

    def _limit(self, pid: int, size_bytes: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, self._most(pid)))


class DeadMount(Volume):
    """A FUSE mount whose server never answers: whoever touches it sleeps in the kernel, as with a dead file server.

    The process itself holds the server's end, and so ends it when it ends.
    """

    mount = FUSE


class StuckFile(Volume):
    """The loop's newest figures are a pipe into which nobody writes: the recorder's thread hangs when it opens it.

    Needs no rights. Nothing else of the volume hangs.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pipe = folder / "loop" / "latest.json"
        self._pipe.parent.mkdir()
        os.mkfifo(self._pipe)

    def mend(self, pid: int) -> None:
        handle = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        self._pipe.unlink()
        os.close(handle)


def _mount(kind: str, folder: str, options: str) -> None:
    if kind == FUSE[0]:
        device = os.open("/dev/fuse", os.O_RDWR)
        os.set_inheritable(device, True)
        options = options.format(device=device)
    libc = ctypes.CDLL(None, use_errno=True)
    private = (b"none", b"/", None, ctypes.c_ulong(PRIVATE), None)
    wanted = (kind.encode(), folder.encode(), kind.encode(), ctypes.c_ulong(0), options.encode())
    if libc.unshare(NEW_NAMESPACE) or libc.mount(*private) or libc.mount(*wanted):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    _mount(*sys.argv[1:4])
    os.execvp(sys.argv[4], sys.argv[4:])
