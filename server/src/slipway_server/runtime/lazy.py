# SPDX-License-Identifier: Apache-2.0
"""A retriever that opens its collection at the first search.

A program without retrieval then needs no collection, and a vector store that is away when the server starts is met by
the dry run, which knows how to wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from slipway_server.retrieval.types import Passage, Retriever


class LazyRetriever:
    """A Retriever made from a coroutine function that opens the real one. A failed opening is tried again next time."""

    def __init__(self, open_retriever: Callable[[], Awaitable[Retriever]]) -> None:
        self._open = open_retriever
        self._opening = asyncio.Lock()
        self._retriever: Retriever | None = None

    @property
    def collection_version(self) -> str:
        """The version searched; empty before the first search."""
        return self._retriever.collection_version if self._retriever else ""

    @property
    def embedder_name(self) -> str:
        """The collection's embedder; empty before the first search."""
        return self._retriever.embedder_name if self._retriever else ""

    @property
    def backend(self) -> str:
        """The real retriever's kind, for metrics."""
        return getattr(self._retriever, "backend", "other")

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """As Retriever.search, opening the collection where that has not happened."""
        return await (await self.opened()).search(queries, k)

    async def opened(self) -> Retriever:
        """The real retriever. Raises what opening it raises."""
        async with self._opening:
            if self._retriever is None:
                self._retriever = await self._open()
            return self._retriever

    async def aclose(self) -> None:
        """Close the real retriever where there is one."""
        if self._retriever is not None:
            await self._retriever.aclose()
