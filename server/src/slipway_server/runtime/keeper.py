# SPDX-License-Identifier: Apache-2.0
"""Keeps the slots: builds and proves variants, swaps them, follows watched folders, takes a failing candidate out.

    keeper = SlotKeeper(settings, build, prove)
    await keeper.open()              # every variant built; raises Artifact… errors
    await keeper.follow_routing()    # one look at what is watched; the service takes one every few seconds,
    await keeper.follow_artifacts()  # side by side: weights must not wait until an artifact is proved
    keeper.slots                     # what serves now

An update that is torn, bad or fails its proof changes nothing: the slot serves on and says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from slipway_server.artifacts.manifest import manifest_path
from slipway_server.artifacts.store import POINTER
from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid, InternalError, OverloadError, SlipwayError, UnavailableError
from slipway_server.runtime.guard import Guard, GuardConfig
from slipway_server.runtime.routing import Routing
from slipway_server.runtime.slots import ROUTING, Slots
from slipway_server.runtime.variants import CANDIDATE, STABLE, Source, Variant, sources
from slipway_server.runtime.watch import Watched
from slipway_server.telemetry import metrics

ROUTING_FILE = "routing.json"

log = logging.getLogger(__name__)

Build = Callable[[Source], Variant]
"""Verify and load, blocking. Raises SlipwayError."""
Prove = Callable[[Variant], Awaitable[None]]
"""Dry run and pre-warm. Raises SlipwayError."""


class SlotKeeper:
    """One per service. `slots` is read at every request and replaced as a whole."""

    def __init__(self, settings: Settings, build: Build, prove: Prove) -> None:
        self._settings = settings
        self._build = build
        self._prove = prove
        self._sources = sources(settings)
        self._routing_file = Watched(settings.routing_dir / ROUTING_FILE) if settings.routing_dir else None
        self._watched: dict[str, list[Watched]] = {}
        self._guard = Guard(GuardConfig.from_settings(settings))
        self.slots: Slots

    async def open(self) -> None:
        """Build every variant and read the routing. Raises what building one of them raises."""
        if self._settings.hot_reload:
            await asyncio.to_thread(self._look)
        slots = Slots({STABLE: await self._built(self._sources[0])}, Routing.from_settings(self._settings))
        for source in self._sources[1:]:
            slots = slots.with_variant(await self._built(source))
        self._replace(slots)
        await self.follow_routing()

    async def follow_routing(self) -> None:
        """Take up weights that have changed since the last look."""
        if self._routing_file:
            await self._follow_routing(self._routing_file)

    async def follow_artifacts(self) -> None:
        """Take up artifacts that have changed since the last look. Takes as long as building and proving them."""
        for source in self._sources:
            watched = self._watched.get(source.name, [])
            if any([await asyncio.to_thread(one.changed) for one in watched]):
                await self._update(source)

    def observe(self, variant: Variant, *, failed: bool, latency_seconds: float | None) -> None:
        """Tell the guard of an answer; a candidate that has to go is out of the routing at once.

        Answers of a variant that was swapped meanwhile are not those of the one that is judged.
        """
        slots = self.slots
        if CANDIDATE not in slots.variants or slots.removed or variant.name not in (STABLE, CANDIDATE):
            return
        if variant is not slots.variants[variant.name]:
            return
        self._guard.observe(candidate=variant.name == CANDIDATE, failed=failed, latency_seconds=latency_seconds)
        if self._guard.verdict:
            digest = slots.variants[CANDIDATE].artifact.digest
            log.error("candidate removed", extra={"reason": self._guard.verdict, "digest": digest})
            metrics.CANDIDATE_REMOVED.inc()
            self._replace(slots.removing_candidate(self._guard.verdict))

    async def _update(self, source: Source) -> None:
        try:
            variant = await self._built(source)
            if variant.artifact.digest == self.slots.variants[source.name].artifact.digest:
                self._replace(self.slots.with_refusal(source.name, ""))  # what was bad has been put right
                return
            warm = self.slots.warm(source.name, variant.artifact.digest)
            if warm is None:
                await self._prove(variant)
            else:
                variant = replace(warm, since=variant.since)
        except SlipwayError as error:
            self._refuse(source, error)
            return
        except Exception as error:
            log.exception("update failed", extra={"variant": source.name})
            self._refuse(source, InternalError(f"the update failed with {type(error).__name__}; the log has it"))
            return
        if source.name in (STABLE, CANDIDATE):  # another pair, another comparison
            self._guard = Guard(GuardConfig.from_settings(self._settings))
        metrics.SWAPS.labels(source.name, "swapped").inc()
        log.info("swapped", extra={"variant": source.name, "digest": variant.artifact.digest})
        self._replace(self.slots.with_variant(variant))

    def _refuse(self, source: Source, error: SlipwayError) -> None:
        log.error("update refused", extra={"variant": source.name, "reason": error.reason, "detail": error.message})
        metrics.SWAPS.labels(source.name, "refused").inc()
        self._replace(self.slots.with_refusal(source.name, error.message))
        if isinstance(error, OverloadError | UnavailableError):  # not the artifact's fault: the next look tries again
            for one in self._watched[source.name]:
                one.forget()

    async def _built(self, source: Source) -> Variant:
        return await asyncio.to_thread(self._build, source)

    async def _follow_routing(self, file: Watched) -> None:
        if not await asyncio.to_thread(file.changed):
            return
        content = await asyncio.to_thread(file.read)
        if content is None:
            file.forget()  # in the middle of a swap, or not there yet
            return
        try:
            routing = Routing.from_settings(self._settings).updated(content)
        except ConfigInvalid as error:
            log.error("routing refused", extra={"detail": error.message})
            metrics.SWAPS.labels("routing", "refused").inc()
            self._replace(self.slots.with_refusal(ROUTING, error.message))
            return
        if routing != self.slots.routing:
            log.info("routing", extra={"candidate_bps": routing.candidate_bps, "shadow_bps": routing.shadow_bps})
            metrics.SWAPS.labels("routing", "swapped").inc()
        self._replace(self.slots.with_routing(routing))

    def _replace(self, slots: Slots) -> None:
        self.slots = slots
        metrics.VARIANT_INFO.clear()
        for info in slots.infos():
            artifact = info.artifact
            metrics.VARIANT_INFO.labels(self._settings.program, info.name, artifact.name, artifact.digest).set(1)
            metrics.ROUTING_WEIGHT.labels(info.name).set(info.weight_bps)

    def _look(self) -> None:
        """Remember the files as they are before building, so that a change in between is seen."""
        self._watched = {source.name: _watched(source) for source in self._sources}
        for watched in self._watched.values():
            for one in watched:
                one.changed()


def _watched(source: Source) -> list[Watched]:
    """The files whose change may mean another artifact in this slot."""
    if source.path is None:
        return []
    if source.path.is_dir():
        return [Watched(source.path / POINTER)]
    return [Watched(source.path), Watched(manifest_path(source.path))]
