# SPDX-License-Identifier: Apache-2.0
"""The embedded backend: Qdrant Edge in this process, on a copy of its own of a published version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slipway_server.errors import CollectionMissing, DataCorrupt, RetrievalUnavailable
from slipway_server.retrieval import archive, shard
from slipway_server.retrieval.encoding import Encoded, Encoder, Sparse
from slipway_server.retrieval.scratch import Scratch
from slipway_server.retrieval.types import Passage
from slipway_server.retrieval.version import Version, check_name, reader

INLINE_SECONDS = 0.0005
"""A search that takes less than this runs on the event loop: a thread hop would cost more than it frees."""
SEARCH_WORKERS = 2
PROBES = 5
PROBE_TERMS = 20


class EmbeddedRetriever:
    """Searches one version in process.

    retriever = await EmbeddedRetriever.open(data_dir, "docs", encoder)
    [passages] = await retriever.search(["a question"], 3)
    await retriever.aclose()

    `open` raises CollectionMissing, CollectionMismatch, DataCorrupt, RetrievalUnavailable.
    """

    backend = "embedded"

    def __init__(self, version: Version, encoder: Encoder, opened: shard.Shard, scratch: Scratch) -> None:
        self._version, self._encoder, self._shard, self._scratch = version, encoder, opened, scratch
        self._inline = _least_seconds(opened, encoder) < INLINE_SECONDS
        self._workers = ThreadPoolExecutor(SEARCH_WORKERS, thread_name_prefix="slipway-search")

    @classmethod
    async def open(
        cls, data_dir: Path, collection: str, encoder: Encoder, scratch_dir: Path | None = None
    ) -> EmbeddedRetriever:
        """Unpack and load the collection's current version."""
        return await asyncio.to_thread(cls._open, data_dir, check_name(collection), encoder, scratch_dir)

    @classmethod
    def _open(cls, data_dir: Path, collection: str, encoder: Encoder, scratch_dir: Path | None) -> EmbeddedRetriever:
        scratch, version, found = _unpacked(data_dir, collection, encoder, scratch_dir)
        try:
            return cls(version, found, shard.load(scratch.path / "shard"), scratch)
        except Exception as error:
            scratch.close()
            raise RetrievalUnavailable(
                f"Collection {version.name} does not load; run `slipway ingest` again", collection=version.name
            ) from error

    @property
    def collection_version(self) -> str:
        """Name of the version."""
        return self._version.name

    @property
    def embedder_name(self) -> str:
        """Name of the embedder."""
        return self._version.embedder

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """The `k` best passages for each query."""
        encoded = await self._encoder.queries(queries)
        if self._inline:
            return self._search(encoded, k)
        return await asyncio.get_running_loop().run_in_executor(self._workers, self._search, encoded, k)

    async def aclose(self) -> None:
        """Close the shard, remove the copy and the encoder's connections."""
        await asyncio.to_thread(self._close)
        await self._encoder.aclose()

    def _search(self, encoded: Encoded, k: int) -> list[list[Passage]]:
        return [shard.search(self._shard, encoded, row, k, self._encoder.fusion) for row in range(len(encoded))]

    def _close(self) -> None:
        self._workers.shutdown(wait=True)
        self._shard.close()
        self._scratch.close()


def _unpacked(
    data_dir: Path, collection: str, encoder: Encoder, scratch_dir: Path | None
) -> tuple[Scratch, Version, Encoder]:
    """A scratch folder with the current version, and what searches it; once more where an ingest replaced it."""
    for last in (False, True):
        published = archive.current(data_dir, collection)
        if published is None:
            raise CollectionMissing(
                f"Collection {collection} does not exist in {data_dir}; make it with "
                f"`slipway ingest --corpus FILE --collection {collection}`",
                collection=collection,
            )
        found = reader(published.version, encoder)
        scratch = Scratch(scratch_dir)
        try:
            archive.unpack(data_dir, published, scratch.path / "shard")
        except BaseException as error:
            scratch.close()
            if last or not isinstance(error, (CollectionMissing, DataCorrupt)):
                raise
        else:
            return scratch, published.version, found
    raise AssertionError("the second attempt returns or raises")


def _least_seconds(opened: shard.Shard, encoder: Encoder) -> float:
    """Time of an undisturbed search, measured with stored points' vectors, cut to the terms of a question."""
    vectors = next(shard.read(opened, with_vectors=True)).vectors
    if vectors is None:
        return 0.0
    sparse = vectors.sparse and [Sparse(row.indices[:PROBE_TERMS], row.values[:PROBE_TERMS]) for row in vectors.sparse]
    asked = Encoded(vectors.dense, sparse)
    seconds = []
    for row in range(min(PROBES, len(asked))):
        start = time.perf_counter()
        shard.search(opened, asked, row, 10, encoder.fusion)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
