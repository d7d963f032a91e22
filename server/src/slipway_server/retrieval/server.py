# SPDX-License-Identifier: Apache-2.0
"""The server backend: searches a collection of a Qdrant server or cluster over gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from slipway_server import request
from slipway_server.errors import CollectionMissing, DeadlineTooShort
from slipway_server.retrieval.encoding import Encoder
from slipway_server.retrieval.qdrant import SERVER, Connection
from slipway_server.retrieval.types import Passage
from slipway_server.retrieval.version import Version, check_name, reader

log = logging.getLogger(__name__)


class ServerRetriever:
    """Searches the version that the alias named when it was opened; the next one where that is gone.

    retriever = await ServerRetriever.open(connection, "docs", encoder)
    [passages] = await retriever.search(["a question"], 3)
    await retriever.aclose()

    Two ingests later the version is removed on the server; the retriever then moves to the current one by itself.
    """

    backend = "server"

    def __init__(self, connection: Connection, version: Version, encoder: Encoder) -> None:
        self._connection, self._configured = connection, encoder
        self._version, self._encoder = version, reader(version, encoder)

    @classmethod
    async def open(cls, connection: Connection, collection: str, encoder: Encoder) -> ServerRetriever:
        """Raises CollectionMissing, CollectionMismatch, RetrievalUnavailable, ConfigInvalid; then it is closed."""
        try:
            return cls(connection, await _current(connection, check_name(collection)), encoder)
        except BaseException:
            await connection.aclose()
            raise

    @property
    def collection_version(self) -> str:
        """Name of the version, which is the collection's name on the server."""
        return self._version.name

    @property
    def embedder_name(self) -> str:
        """Name of the embedder."""
        return self._version.embedder

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """The `k` best passages for each query, within the request's deadline."""
        encoded = await self._encoder.queries(queries)
        try:
            async with asyncio.timeout(request.current().remaining_seconds()):
                try:
                    return await self._connection.search(self._version, encoded, k, self._encoder.fusion)
                except CollectionMissing:
                    version = await _current(self._connection, self._version.collection)
                    self._version, self._encoder = version, reader(version, self._configured)
                    log.warning("collection_moved", extra={"collection_version": version.name})
                    encoded = await self._encoder.queries(queries)
                    return await self._connection.search(version, encoded, k, self._encoder.fusion)
        except TimeoutError:
            raise DeadlineTooShort("The deadline passed before the vector store answered") from None

    async def aclose(self) -> None:
        """Close the connection and the encoder's."""
        await self._connection.aclose()
        await self._configured.aclose()


async def _current(connection: Connection, collection: str) -> Version:
    version = await connection.current(collection)
    if version is None:
        raise CollectionMissing(
            f"Collection {collection} does not exist at {SERVER}; make it with "
            f"`slipway ingest --corpus FILE --collection {collection}`",
            collection=collection,
        )
    return version
