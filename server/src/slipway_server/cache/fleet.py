# SPDX-License-Identifier: Apache-2.0
"""One process of the fleet makes an entry; the others wait for it.

    elected = await fleet.elect(name, digest)
    elected.value      # somebody else made it
    elected.lease      # make it, then `fleet.release(elected.lease)` when it is published; None: make it all the same

Nothing here raises or waits beyond the request's deadline: whatever goes wrong with leases costs a call upstream.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from slipway_server import request
from slipway_server.cache.lease import FREE, Free, Held, Lease, Leases
from slipway_server.cache.volume import Volume, counted
from slipway_server.telemetry import metrics

T = TypeVar("T")

ELECTIONS = 2
"""A failed holder's followers elect one more; after that everybody goes on alone, so that failures do not queue up."""
BEATS_PER_LEASE = 4
FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 0.01, 0.1


@dataclass(frozen=True, slots=True)
class Elected:
    """The entry as another process made it, or the right to make it, or neither."""

    value: bytes | None = None
    lease: Lease | None = None
    waited: bool = False


class Fleet:
    """Elections over the lease files of one volume.

    Args:
        read: Reads an entry from the volume, past the memory tier.
        keep: Puts an entry that was read into the memory tier, and returns it.
        lease_seconds: A holder that gives no sign of life for so long is replaced.
    """

    def __init__(
        self,
        volume: Volume,
        read: Callable[[str], Awaitable[bytes | None]],
        keep: Callable[[str, bytes], bytes | None],
        *,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._volume = volume
        self._read = read
        self._keep = keep
        self._lease_seconds = lease_seconds
        self._clock = clock
        self.leases = Leases(volume.store, beat_seconds=lease_seconds / BEATS_PER_LEASE)

    async def elect(self, name: str, digest: str) -> Elected:
        """The entry `digest` from the volume; where it is missing, become its maker, or wait for who is."""
        waited = False
        lease: Lease | None = None
        for _ in range(ELECTIONS):
            found: Lease | Held | Free | bytes | None = await self._claim(self._enter, name, digest, look_up=True)
            if isinstance(found, bytes):
                return Elected(self._keep(digest, found), waited=waited)
            if isinstance(found, Lease):
                return Elected(lease=found, waited=waited)
            if isinstance(found, Held):
                waited = True
                found = await self._outcome(name, found)
            lease = found if isinstance(found, Lease) else None
            if found is None:
                break
            try:
                await self._volume.call(self._volume.store.refresh, digest)
                value = await self._read(digest)
            except BaseException:
                self.release(lease)
                raise
            if value is not None:
                self.release(lease)
                return Elected(value, waited=waited)
            if lease is not None:
                break
        return Elected(lease=lease, waited=waited)

    def release(self, lease: Lease | None) -> None:
        """Give a lease back, in the background."""
        if lease is not None and not self._volume.later(self.leases.release, lease):
            self.leases.owe(lease)

    async def aclose(self) -> None:
        """Give all leases back."""
        await self._volume.call(self.leases.close)

    def _enter(self, name: str, digest: str) -> Lease | Held | bytes:
        """In a worker, in one go: the entry, else the lease, else the entry of who was faster than this lease."""
        found = self._volume.get(digest)
        if isinstance(found, bytes):
            return found
        lease = self.leases.acquire(name)  # where it raises, that is what the look-up's miss is counted as
        counted(found)
        if not isinstance(lease, Lease):
            return lease
        found = self._volume.get(digest)
        if not isinstance(found, bytes):
            return lease
        with suppress(OSError):
            self.leases.release(lease)
        return found

    async def _claim(self, function: Callable[..., T], *args: object, look_up: bool = False) -> T | None:
        """Run what may give a lease; a lease that comes when nobody waits for it any more is given back."""
        claim = _Claim(self.leases, function, args)
        taken = None
        try:
            taken = await self._volume.call(claim.take, look_up=look_up)
        finally:
            if taken is None:
                self.release(claim.abandon())
        return taken

    async def _outcome(self, name: str, held: Held) -> Lease | Free | None:
        """Wait for the holder: FREE when it is done, a Lease where it died, None where there is no time left."""
        started = self._clock()
        try:
            return await self._watch(name, held)
        finally:
            request.current().account.waits_seconds["cache_lease"] += self._clock() - started

    async def _watch(self, name: str, held: Held) -> Lease | Free | None:
        alive_at = self._clock()
        replaced: bytes | None = None
        poll_seconds = FIRST_POLL_SECONDS
        while request.current().remaining_seconds() != 0:
            expired = self._clock() - alive_at > self._lease_seconds
            if expired and held.content == replaced:
                return None  # whoever was to replace the dead holder is dead too
            if expired or (held.dead and held.content != replaced):
                lease = await self._claim(self.leases.take_over, name, held)
                if isinstance(lease, Lease):
                    return lease
                replaced, alive_at = held.content, self._clock()
            await asyncio.sleep(poll_seconds * random.uniform(0.8, 1.2))
            poll_seconds = min(poll_seconds * 1.5, LAST_POLL_SECONDS)
            seen = await self._volume.call(self.leases.look, name)
            if seen is None:
                metrics.CACHE_LEASES.labels("unreadable").inc()
                return None
            if seen is FREE:
                return FREE
            if isinstance(seen, Held) and seen != held:
                held, alive_at = seen, self._clock()
        return None


class _Claim(Generic[T]):
    """A lease on its way from a worker thread to a waiter who may have left."""

    def __init__(self, leases: Leases, function: Callable[..., T], args: tuple[object, ...]) -> None:
        self._leases = leases
        self._function = function
        self._args = args
        self._taken: T | None = None
        self._abandoned = False
        self._lock = threading.Lock()

    def take(self) -> T | None:
        """In the worker: the function's result."""
        taken = self._function(*self._args)
        with self._lock:
            self._taken = taken
            wanted = not self._abandoned
        if not wanted and isinstance(taken, Lease):
            self._leases.release(taken)
        return taken

    def abandon(self) -> Lease | None:
        """Nobody waits any more: the lease that has come already, which the caller gives back."""
        with self._lock:
            self._abandoned = True
            return self._taken if isinstance(self._taken, Lease) else None
