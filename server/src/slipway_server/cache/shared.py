# SPDX-License-Identifier: Apache-2.0
"""The shared cache of a process: memory tier, volume, and the two methods that DSPy calls.

    shared = open_cache(settings)
    await shared.start()             # raises ConfigInvalid where everybody may write to the folder
    install(shared)                  # dspy.cache = shared
    …
    await shared.aclose()            # writes what is waiting

A fault of the volume is a miss or a write that did not happen, and a metric; it never reaches a caller.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from slipway_server import request
from slipway_server.cache.config import CacheConfig
from slipway_server.cache.keys import Keys, NotKeyable
from slipway_server.cache.memory import MemoryTier
from slipway_server.cache.pending import Entry, current_pending
from slipway_server.cache.record import Miss
from slipway_server.cache.store import DiskStore
from slipway_server.cache.volume import Volume
from slipway_server.config import Settings
from slipway_server.telemetry import metrics

if TYPE_CHECKING:
    from slipway_server.cache.flight import Flight

log = logging.getLogger(__name__)


Asked = tuple[Mapping[str, Any], Iterable[str]]
"""A request in the form that DSPy gives to its cache, and the fields of it to leave out."""


@dataclass(slots=True)
class Resolution:
    """What is already known about one entry before DSPy asks for it, and what DSPy then stored."""

    digest: str
    value: bytes | None
    tier: str
    stored: Entry | None = None
    asked: Asked | None = None
    """What the digest was made of, where that is known: to compare it takes less than to make a digest."""


resolution: ContextVar[Resolution | None] = ContextVar("slipway_cache_resolution", default=None)
"""Set by the single flight around a call, so that DSPy's own look-up, in a thread, neither waits nor reads again."""


class SharedCache:
    """Stands in for dspy.cache. Thread-safe; `get` and `put` never raise."""

    def __init__(self, config: CacheConfig, store: DiskStore | None = None) -> None:
        self.config = config
        self.keys = Keys(config.namespace, config.endpoint)
        self.memory = MemoryTier(config.memory_bytes, config.ttl_seconds) if config.mode != "off" else None
        self.volume: Volume | None = None
        if config.mode == "on":
            store = store or DiskStore(config.folder, ttl_seconds=config.ttl_seconds, fsync=config.fsync)
            self.volume = Volume(store, budget_seconds=config.timeout_seconds)

    async def start(self) -> None:
        """Make the folder. Raises ConfigInvalid where everybody may write to it."""
        if self.volume:
            await self.volume.prepare()

    async def aclose(self) -> None:
        """Write what is waiting."""
        if self.volume:
            await self.volume.flush()
            await self.flight.aclose()
            self.volume.close()

    @cached_property
    def flight(self) -> Flight:
        """Single flight over this cache, for the LM."""
        from slipway_server.cache.flight import Flight

        return Flight(self)

    @cached_property
    def store(self) -> Entries:
        """This cache as an EntryStore, for other kinds of entries than LM calls."""
        return Entries(self)

    # ---- what DSPy calls, in its worker threads

    def get(self, request_: Mapping[str, Any], ignored: Iterable[str] | None = None) -> Any:
        """The stored value, or None."""
        try:
            return self._get(request_, ignored or ())
        except NotKeyable:
            metrics.CACHE_SKIPPED.labels("not_keyable").inc()
        except Exception:
            log.warning("cache_get_failed", exc_info=True)
        return None

    def put(
        self,
        request_: Mapping[str, Any],
        value: Any,
        ignored: Iterable[str] | None = None,
        enable_memory_cache: bool = True,
    ) -> None:
        """Store a JSON value. What JSON would change (arrays, tuples, NaN, objects) is not stored."""
        try:
            self._put(request_, value, ignored or ())
        except NotKeyable:
            metrics.CACHE_SKIPPED.labels("not_keyable").inc()
        except Exception:
            log.warning("cache_put_failed", exc_info=True)

    def _get(self, request_: Mapping[str, Any], ignored: Iterable[str]) -> Any:
        if not self.usable():
            count("lm", "bypass")
            return None
        known = resolution.get()
        digest = self._digest(known, (request_, ignored))
        if known is not None and known.digest == digest:
            value, tier = known.value, known.tier
        else:
            value, tier = self.find_blocking(digest)
        count("lm", tier)
        return None if value is None else orjson.loads(value)

    def _put(self, request_: Mapping[str, Any], value: Any, ignored: Iterable[str]) -> None:
        if not self.usable():
            return
        data = to_json(value)
        if data is None:
            return
        known = resolution.get()
        entry = Entry(self._digest(known, (request_, ignored)), data, self.publish)
        if known is not None and known.digest == entry.digest:
            known.stored = entry
        pending = current_pending()
        if pending:
            pending.add(entry)
        else:
            self.publish(entry)

    def _digest(self, known: Resolution | None, asked: Asked) -> str:
        return known.digest if known is not None and known.asked == asked else self.keys.of_request(*asked)

    # ---- bytes by digest, for the other modules of this room

    def usable(self) -> bool:
        """Whether the current request may use the cache."""
        return self.memory is not None and request.current().use_cache

    def find(self, digest: str) -> bytes | None:
        """A value that is in memory, or kept aside by the current block. Never waits."""
        pending = current_pending()
        kept = pending.find(digest) if pending else None
        return kept if kept is not None or self.memory is None else self.memory.get(digest)

    async def read(self, digest: str) -> bytes | None:
        """A value from the volume."""
        return self.kept(digest, await self.volume.read(digest)) if self.volume else None

    def find_blocking(self, digest: str) -> tuple[bytes | None, str]:
        """A value and its tier. On an event loop's own thread, where dspy.Embedder asks, only memory is looked at."""
        value = self.find(digest)
        if value is not None:
            return value, "memory"
        if self.volume and asyncio._get_running_loop() is None:
            value = self.kept(digest, self.volume.read_blocking(digest))
        return value, "miss" if value is None else "disk"

    def publish(self, entry: Entry) -> None:
        """Let everybody see an entry: this process at once, the others when it is written."""
        if self.memory is not None:
            self.memory.put(entry.digest, entry.value)
        if self.volume:
            self.volume.write(entry.digest, entry.value).add_done_callback(lambda _: entry.drop())
        else:
            entry.drop()

    def kept(self, digest: str, found: bytes | Miss) -> bytes | None:
        """What was found on the volume, put into the memory tier."""
        if isinstance(found, Miss):
            return None
        if self.memory is not None:
            self.memory.put(digest, found)
        return found


class Entries:
    """Bytes by key (cache.protocol.EntryStore): memory, then the volume."""

    def __init__(self, shared: SharedCache, kind: str = "entry") -> None:
        self._shared = shared
        self._kind = kind

    async def get(self, key: str) -> bytes | None:
        """The value stored under `key`, or None."""
        shared = self._shared
        if not shared.usable():
            return None
        digest = shared.keys.of_text(self._kind, key)
        value, tier = shared.find(digest), "memory"
        if value is None:
            value, tier = await shared.read(digest), "disk"
        metrics.CACHE_LOOKUPS.labels(self._kind, "miss" if value is None else tier).inc()
        return value

    async def put(self, key: str, value: bytes) -> None:
        """Store `value` under `key`; it is written in the background, and waits only where much is waiting already."""
        shared = self._shared
        if shared.usable():
            if shared.volume:
                await shared.volume.room()
            shared.publish(Entry(shared.keys.of_text(self._kind, key), value, shared.publish))


def to_json(value: Any) -> bytes | None:
    """`value` as JSON, or None where it would read back as something else (arrays, tuples, NaN, objects)."""
    try:
        data = orjson.dumps(value)
        if orjson.loads(data) == value:
            return data
    except TypeError:
        pass
    metrics.CACHE_SKIPPED.labels("not_json").inc()
    return None


def count(kind: str, tier: str) -> None:
    """Record which tier answered, in the metrics and in the current request's account."""
    metrics.CACHE_LOOKUPS.labels(kind, tier).inc()
    request.current().account.cache_tiers[tier] += 1
    if log.isEnabledFor(logging.DEBUG):
        log.debug("cache", extra={"kind": kind, "tier": tier})


def open_cache(settings: Settings) -> SharedCache:
    """The cache that the settings describe. Nothing is read or written yet: `start` does, or the first use."""
    return SharedCache(CacheConfig.from_settings(settings))


def install(shared: SharedCache) -> None:
    """Make it DSPy's cache, for all LMs and embedders of the process."""
    import dspy

    with dspy._cache_lock:
        dspy.cache = shared
