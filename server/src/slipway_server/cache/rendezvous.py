# SPDX-License-Identifier: Apache-2.0
"""Two processes meet on a volume and talk through files: what `slipway cache doctor` needs, and nothing else.

meeting = meet(store, wait_seconds=60)       # None: nobody came
meeting.first                                # exactly one of the two
meeting.say("ready", b"1")
meeting.hear("ready", timeout_seconds=10)    # what the other one said; raises Silent
"""

from __future__ import annotations

import errno
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass

from slipway_server.cache.folder import DOCTOR
from slipway_server.cache.store import DiskStore

POLL_SECONDS = 0.02
LIMIT_SECONDS = 120.0
"""So long a machine may be too busy to answer."""
_REPLY_SECONDS = 30.0


class Silent(Exception):
    """The other process did not answer for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Meeting:
    """This process's side of a conversation."""

    store: DiskStore
    token: str
    first: bool

    def path(self, name: str) -> str:
        """A path of this conversation."""
        return self.store.folder.path(DOCTOR, f"{self.token}.{name}")

    def say(self, step: str, what: bytes = b"") -> None:
        """Publish one message."""
        temporary = self.store.temporary()
        self.store.ops.create(temporary, what, mode=self.store.folder.file_mode, fsync=True)
        self.store.ops.replace(temporary, self.path(f"{step}.{int(self.first)}"))

    def hear(self, step: str, timeout_seconds: float | None = None, poll_seconds: float = POLL_SECONDS) -> bytes:
        """The other one's message. Raises Silent where it does not come within LIMIT_SECONDS or `timeout_seconds`."""
        limit = LIMIT_SECONDS if timeout_seconds is None else timeout_seconds
        started = looked_again = time.monotonic()
        while (now := time.monotonic()) - started < limit:
            found = self.heard(step)
            if found is not None:
                return found
            time.sleep(poll_seconds)
            if now - looked_again >= POLL_SECONDS:
                looked_again = now
                self._look_again()
        raise Silent(limit)

    def heard(self, step: str) -> bytes | None:
        """The other one's message, or None where it has not come."""
        return _read(self.store, self.path(f"{step}.{int(not self.first)}"))

    def exchange(
        self,
        step: str,
        what: bytes = b"",
        timeout_seconds: float | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> bytes:
        """Say and hear: both are at the same step afterwards."""
        self.say(step, what)
        return self.hear(step, timeout_seconds, poll_seconds)

    def _look_again(self) -> None:
        """A change of the folder ends an NFS client's memory of files that were not there."""
        marker = self.path(secrets.token_hex(6))
        with suppress(OSError):
            self.store.ops.create(marker, b"", mode=self.store.folder.file_mode, fsync=False)
            self.store.ops.unlink(marker)


def meet(store: DiskStore, *, wait_seconds: float) -> Meeting | None:
    """Wait for another process that calls this on the same volume."""
    store.ops.mkdir(store.folder.path(DOCTOR), store.folder.folder_mode)
    deadline = time.monotonic() + wait_seconds
    waiting = store.folder.path(DOCTOR, "waiting")
    while time.monotonic() < deadline:
        token = secrets.token_hex(8)
        try:
            store.ops.create(waiting, token.encode(), mode=store.folder.file_mode, fsync=True)
        except FileExistsError:
            meeting = _joined(store, waiting)
        else:
            meeting = Meeting(store, token, first=True)
            try:
                meeting.hear("here", deadline - time.monotonic())
            except Silent:
                return None
            finally:
                with suppress(FileNotFoundError):
                    store.ops.unlink(waiting)
            meeting.say("here")
        if meeting is not None:
            return meeting
    return None


def _joined(store: DiskStore, waiting: str) -> Meeting | None:
    token = (_read(store, waiting) or b"").decode()
    if not token:  # about to be written; if its writer died there, it is swept after a day
        time.sleep(POLL_SECONDS)
        return None
    meeting = Meeting(store, token, first=False)
    try:
        meeting.exchange("here", timeout_seconds=_REPLY_SECONDS)
    except Silent:
        with suppress(FileExistsError, FileNotFoundError):  # one of those who notice may remove its file
            store.ops.create(meeting.path("gone"), b"", mode=store.folder.file_mode, fsync=False)
            store.ops.unlink(waiting)
        return None
    return meeting


def _read(store: DiskStore, path: str) -> bytes | None:
    try:
        return store.read(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # not there, or just removed by another host
            return None
        raise
