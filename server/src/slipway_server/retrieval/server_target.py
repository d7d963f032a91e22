# SPDX-License-Identifier: Apache-2.0
"""Builds a version on a Qdrant server: a collection of its own, then a switch of the alias."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

from slipway_server.retrieval.encoding import Encoded
from slipway_server.retrieval.points import Page, Point
from slipway_server.retrieval.qdrant import Connection
from slipway_server.retrieval.version import Version

ABANDONED_SECONDS = 24 * 3600.0
"""A version that is still unpublished after this is nobody's any more."""


class ServerTarget:
    """target.Target on a server. A killed build leaves its collection, which the next run of the same corpus fills."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._version: Version | None = None

    async def current(self, collection: str) -> Version | None:
        """The version that the alias names."""
        return await self._connection.current(collection)

    async def intact(self, version: Version) -> bool:
        """Whether all points are there."""
        return await self._connection.intact(version)

    async def stored(self, version: Version, *, with_vectors: bool) -> AsyncIterator[Page]:
        """Every point of the published version, in pages."""
        async for page in self._connection.read(version.name, with_vectors=with_vectors):
            yield page

    async def begin(self, version: Version, *, sparse: bool) -> set[str]:
        """Make the collection, or see what a killed run left in it."""
        self._version = version
        await self._connection.create(version, sparse=sparse)
        there: set[str] = set()
        async for page in self._connection.read(version.name, with_vectors=False):
            there.update(point for point, _ in page.points)
        return there

    async def add(self, points: Sequence[Point], encoded: Encoded) -> None:
        """Store points."""
        assert self._version is not None, "begin comes first"
        await self._connection.upsert(self._version, points, encoded)

    async def publish(self) -> None:
        """Switch the alias, and prune."""
        assert self._version is not None, "begin comes first"
        before = await self._connection.current(self._version.collection)
        await self._connection.switch(self._version)
        kept = {self._version.name, before.name if before else ""}
        for stored in await self._connection.versions(self._version.collection):
            abandoned = not stored.published and time.time() - stored.since > ABANDONED_SECONDS
            if stored.version.name not in kept and (stored.published or abandoned):
                await self._connection.delete(stored.version)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()
