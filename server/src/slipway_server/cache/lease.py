# SPDX-License-Identifier: Apache-2.0
"""Lease files: which process of the fleet is making an entry, and whether it still lives.

    leases = Leases(store, beat_seconds=2.5)
    found = leases.acquire(name)         # Lease: make the entry. Held: somebody else does
    leases.look(name)                    # Held again, or FREE
    leases.take_over(name, held)         # a Lease for exactly one of those who found the holder dead, else None
    leases.release(lease)

A lease is a file made with O_EXCL that names its holder. A holder proves that it lives by changing its one file under
holders/ every few seconds; others compare what they see there over their own monotonic time, so that hosts need no
common clock (as Kubernetes' leader election does). A holder without that file is dead. Blocking; raises OSError.

The lease of a holder that lives is waited for. One that could not be given back is owed, and tried again at every beat.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import secrets
import socket
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from slipway_server.cache.folder import HOLDERS, LEASES
from slipway_server.cache.store import DiskStore
from slipway_server.telemetry import metrics

OWED_LEASES = 4096
LEASE_BYTES = 128
"""Of every lease: a host that looks one up while it is taken over may see the new one with the old one's size
(GlusterFS, see properties)."""


@dataclass(frozen=True, slots=True)
class Lease:
    """This process makes the entry."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """Another process makes it. Two looks that differ prove that somebody lives."""

    content: bytes
    beat: bytes | None
    """What the holder last wrote; None where its file is gone."""

    @property
    def dead(self) -> bool:
        """The holder has ended, or never was."""
        return self.beat is None and self.content != b""


class Free(Enum):
    """Nobody makes it."""

    FREE = "free"


FREE = Free.FREE


class Leases:
    """The leases of this process.

    Args:
        store: Where they are kept.
        beat_seconds: Time between two signs of life; a few of them must fit into the time after which a lease expires.
    """

    def __init__(self, store: DiskStore, *, beat_seconds: float) -> None:
        host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:64]
        self._holder = f"{host}-{os.getpid()}-{secrets.token_hex(6)}"
        self._store = store
        self._beat_seconds = beat_seconds
        self._numbers = itertools.count(1)
        self._beats = 0
        self._held: set[Lease] = set()
        self._owed: deque[Lease] = deque(maxlen=OWED_LEASES)
        self._beating = False
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def acquire(self, name: str) -> Lease | Held:
        """Take the lease where nobody has it."""
        self._live()
        lease = self._new(name)
        for _ in range(3):
            try:
                self._store.ops.create(self._path(name), lease.content, mode=self._mode, fsync=False)
            except FileExistsError:
                found = self.look(name)
                if isinstance(found, Held) and found.content != lease.content:
                    metrics.CACHE_LEASES.labels("held").inc()
                    return found
                if found is FREE:
                    continue
                # else ours: an NFS client repeated a request that had succeeded
            return self._took(lease, "acquired")
        return Held(b"", None)

    def look(self, name: str) -> Held | Free:
        """Who has the lease now."""
        try:
            content = self._content(self._path(name))
            if content is None:
                return FREE
            holder = content.partition(b" ")[0].decode("ascii", "replace")
            return Held(content, self._content(self._store.folder.path(HOLDERS, _plain(holder))))
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return FREE  # this host still knew a file that its holder has removed

    def take_over(self, name: str, held: Held) -> Lease | None:
        """Take a dead holder's lease. None where another process did.

        The marker, made with O_EXCL, is named after the dead lease's content, which no other lease has, so that one
        process can replace it. It stays until it is swept: who comes late may still be shown the dead lease.
        """
        self._live()
        marker = f"{self._path(name)}.{hashlib.sha256(held.content).hexdigest()[:16]}"
        if not self._made(marker) or self._content(self._path(name)) != held.content:
            return None
        lease = self._new(name)
        temporary = self._store.temporary()
        self._store.ops.create(temporary, lease.content, mode=self._mode, fsync=False)
        self._store.ops.replace(temporary, self._path(name))
        return self._took(lease, "taken_over")

    def release(self, lease: Lease) -> None:
        """Give the lease back, unless another process has taken it over. Where that fails it is owed."""
        try:
            if self._content(self._path(lease.name)) == lease.content:
                self._store.ops.unlink(self._path(lease.name))
        except FileNotFoundError:
            pass
        except OSError:
            self.owe(lease)
            raise
        with self._lock:
            self._held.discard(lease)

    def owe(self, lease: Lease) -> None:
        """Leave the lease to the next beat. Neither waits nor touches the volume."""
        self._owed.append(lease)

    def settle(self) -> None:
        """Give back what is owed."""
        for _ in range(len(self._owed)):
            with suppress(OSError):
                self.release(self._owed.popleft())

    def close(self) -> None:
        """Give everything back and stop living."""
        self._stop.set()
        for lease in [*self._held, *self._owed]:
            with suppress(OSError):
                self.release(lease)
        if self._beating:
            with suppress(OSError):
                self._store.ops.unlink(self._store.folder.path(HOLDERS, self._holder))

    def beat(self) -> None:
        """Give a sign of life."""
        self._beats += 1
        path = self._store.folder.path(HOLDERS, self._holder)
        self._store.ops.overwrite(path, b"%020d" % self._beats, mode=self._mode)

    # ----

    @property
    def _mode(self) -> int:
        return self._store.folder.file_mode

    def _path(self, name: str) -> str:
        return self._store.folder.path(LEASES, name)

    def _made(self, marker: str) -> bool:
        """Whether this process is the one that makes the file. Where nobody was (GlusterFS), it tries again."""
        for _ in range(2):
            try:
                self._store.ops.create(marker, b"", mode=self._mode, fsync=False)
            except FileExistsError:
                if self._content(marker) is not None:
                    return False
            else:
                return True
        return False

    def _content(self, path: str) -> bytes | None:
        try:
            return self._store.read(path)
        except FileNotFoundError:
            return None

    def _new(self, name: str) -> Lease:
        return Lease(name, f"{self._holder} {next(self._numbers)}".ljust(LEASE_BYTES - 1).encode() + b"\n")

    def _took(self, lease: Lease, event: str) -> Lease:
        with self._lock:
            self._held.add(lease)
        metrics.CACHE_LEASES.labels(event).inc()
        return lease

    def _live(self) -> None:
        with self._lock:
            if self._beating:
                return
            self.beat()
            self._beating = True
        threading.Thread(target=self._keep_beating, name="slipway-cache-beat", daemon=True).start()

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._beat_seconds):
            with suppress(OSError):
                self.beat()
            self.settle()


def _plain(holder: str) -> str:
    """A file name, whatever a damaged lease says."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", holder).lstrip(".")[:200] or "-"
