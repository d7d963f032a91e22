# SPDX-License-Identifier: Apache-2.0
"""Qdrant, embedders, ingestion.

retriever = await open_retriever(settings)
[passages] = await retriever.search(["a question"], 3)
await retriever.aclose()
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from slipway_server.cache.protocol import EntryStore
from slipway_server.config import Settings
from slipway_server.retrieval.types import Embedder, Passage, Retriever

if TYPE_CHECKING:
    from slipway_server.retrieval.encoding import Encoder

__all__ = ["Embedder", "Passage", "Retriever", "open_retriever"]


async def open_retriever(settings: Settings, store: EntryStore | None = None) -> Retriever:
    """Open the configured collection, embedded or on a server; `store` remembers an endpoint's vectors by text.

    Raises CollectionMissing, CollectionMismatch (made with another embedder or dimension), RetrievalUnavailable,
    DataCorrupt, ConfigInvalid.
    """
    encoder = await asyncio.to_thread(_encoder, settings, store)
    try:
        opening = await asyncio.to_thread(_opening, settings, encoder)
        return await opening()
    except BaseException:
        await encoder.aclose()
        raise


def _encoder(settings: Settings, store: EntryStore | None) -> Encoder:
    from slipway_server.retrieval.embedders import open_encoder

    return open_encoder(settings, store)


def _opening(settings: Settings, encoder: Encoder) -> Callable[[], Awaitable[Retriever]]:
    """How the collection is opened. In a thread, as above: importing a client takes a good part of a second."""
    if settings.qdrant_url is None:
        from slipway_server.retrieval.embedded import EmbeddedRetriever

        return lambda: EmbeddedRetriever.open(settings.data_dir, settings.collection, encoder, settings.scratch_dir)
    from slipway_server.retrieval.qdrant import Connection, ServerConfig
    from slipway_server.retrieval.server import ServerRetriever

    async def on_server() -> Retriever:
        connection = await Connection.open(ServerConfig.from_settings(settings))
        return await ServerRetriever.open(connection, settings.collection, encoder)

    return on_server
