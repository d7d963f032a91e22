# SPDX-License-Identifier: Apache-2.0
"""Builds an embedded version: a shard in a scratch folder, published as an archive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from slipway_server.errors import CollectionMissing
from slipway_server.retrieval import archive, shard
from slipway_server.retrieval.encoding import Encoded
from slipway_server.retrieval.points import Page, Point
from slipway_server.retrieval.scratch import Scratch
from slipway_server.retrieval.version import Version


class EmbeddedTarget:
    """target.Target on a data directory. A killed build leaves nothing but a scratch folder, which is swept."""

    def __init__(self, data_dir: Path, scratch_dir: Path | None) -> None:
        self._data_dir, self._scratch_dir = data_dir, scratch_dir
        self._building: _Building | None = None

    async def current(self, collection: str) -> Version | None:
        """The version that the pointer names."""
        published = await asyncio.to_thread(archive.current, self._data_dir, collection)
        return published.version if published else None

    async def intact(self, version: Version) -> bool:
        """Whether the published archive matches its checksum."""
        return await asyncio.to_thread(archive.intact, self._data_dir, version.collection)

    async def stored(self, version: Version, *, with_vectors: bool) -> AsyncIterator[Page]:
        """Every point of the published version, in pages."""
        scratch = await asyncio.to_thread(Scratch, self._scratch_dir)
        try:
            opened = await asyncio.to_thread(self._copy, version, scratch.path / "shard")
            pages = shard.read(opened, with_vectors=with_vectors)
            while (page := await asyncio.to_thread(next, pages, None)) is not None:
                yield page
            await asyncio.to_thread(opened.close)
        finally:
            await asyncio.to_thread(scratch.close)

    async def begin(self, version: Version, *, sparse: bool) -> set[str]:
        """Start building; nothing is there yet."""
        self._building = await asyncio.to_thread(_Building, version, self._scratch_dir, sparse)
        return set()

    async def add(self, points: Sequence[Point], encoded: Encoded) -> None:
        """Store points."""
        assert self._building is not None, "begin comes first"
        await asyncio.to_thread(shard.add, self._building.shard, points, encoded)

    async def publish(self) -> None:
        """Archive the shard and switch to it."""
        assert self._building is not None, "begin comes first"
        await asyncio.to_thread(self._building.publish, self._data_dir)

    async def aclose(self) -> None:
        """Remove the scratch folder."""
        if self._building is not None:
            await asyncio.to_thread(self._building.scratch.close)

    def _copy(self, version: Version, folder: Path) -> shard.Shard:
        published = archive.current(self._data_dir, version.collection)
        if published is None:
            raise CollectionMissing(f"Collection {version.collection} was removed meanwhile; ingest again")
        archive.unpack(self._data_dir, published, folder)
        return shard.load(folder)


class _Building:
    """An unpublished version."""

    def __init__(self, version: Version, scratch_dir: Path | None, sparse: bool) -> None:
        self.version = version
        self.scratch = Scratch(scratch_dir)
        self.folder = self.scratch.path / "shard"
        self.shard = shard.create(self.folder, version.dimension, sparse=sparse)

    def publish(self, data_dir: Path) -> None:
        shard.finish(self.shard)
        archive.publish(self.folder, data_dir, self.version)
