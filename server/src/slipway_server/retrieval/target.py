# SPDX-License-Identifier: Apache-2.0
"""The seam between an ingest and a backend: where a version is built and published."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from slipway_server.config import Settings
from slipway_server.retrieval.encoding import Encoded
from slipway_server.retrieval.points import Page, Point
from slipway_server.retrieval.version import Version


class Target(Protocol):
    """Builds one version, which becomes visible only by `publish`."""

    async def current(self, collection: str) -> Version | None:
        """The published version. Raises DataCorrupt."""
        ...

    async def intact(self, version: Version) -> bool:
        """Whether the published version can be read."""
        ...

    def stored(self, version: Version, *, with_vectors: bool) -> AsyncIterator[Page]:
        """Every point of the published version, in pages."""
        ...

    async def begin(self, version: Version, *, sparse: bool) -> set[str]:
        """Start or resume building, with sparse vectors or not; the ids of points that are there already."""
        ...

    async def add(self, points: Sequence[Point], encoded: Encoded) -> None:
        """Store points; storing one again changes nothing."""
        ...

    async def publish(self) -> None:
        """Switch to the version atomically and remove versions older than the one before it."""
        ...

    async def aclose(self) -> None:
        """Release everything; what is not published stays invisible."""
        ...


async def open_target(settings: Settings) -> Target:
    """The configured backend's: a server where SLIPWAY_QDRANT_URL is set, else embedded."""
    if settings.qdrant_url is None:
        from slipway_server.retrieval.embedded_target import EmbeddedTarget

        return EmbeddedTarget(settings.data_dir, settings.scratch_dir)
    from slipway_server.retrieval.qdrant import Connection, ServerConfig
    from slipway_server.retrieval.server_target import ServerTarget

    return ServerTarget(await Connection.open(ServerConfig.from_settings(settings)))
