# SPDX-License-Identifier: Apache-2.0
"""Qdrant, embedders, ingestion.

retriever = await open_retriever(settings)
[passages] = await retriever.search(["a question"], 3)
await retriever.aclose()
"""

from __future__ import annotations

from slipway_server.cache.protocol import EntryStore
from slipway_server.config import Settings
from slipway_server.retrieval.types import Embedder, Passage, Retriever

__all__ = ["Embedder", "Passage", "Retriever", "open_retriever"]


async def open_retriever(settings: Settings, store: EntryStore | None = None) -> Retriever:
    """Open the configured collection, embedded or on a server; `store` remembers an endpoint's vectors by text.

    Raises CollectionMissing, CollectionMismatch (made with another embedder or dimension), RetrievalUnavailable,
    DataCorrupt, ConfigInvalid.
    """
    from slipway_server.retrieval.embedders import open_encoder

    encoder = open_encoder(settings, store)
    try:
        if settings.qdrant_url is None:
            from slipway_server.retrieval.embedded import EmbeddedRetriever

            return await EmbeddedRetriever.open(settings.data_dir, settings.collection, encoder, settings.scratch_dir)
        from slipway_server.retrieval.qdrant import Connection, ServerConfig
        from slipway_server.retrieval.server import ServerRetriever

        connection = await Connection.open(ServerConfig.from_settings(settings))
        return await ServerRetriever.open(connection, settings.collection, encoder)
    except BaseException:
        await encoder.aclose()
        raise
