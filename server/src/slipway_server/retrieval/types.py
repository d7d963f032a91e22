# SPDX-License-Identifier: Apache-2.0
"""The seam of retrieval: what programs and the runtime see of it."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage of a collection. `score`: higher is better, comparable within one collection only."""

    id: str
    title: str
    text: str
    score: float = 0.0

    @property
    def long_text(self) -> str:
        """Title and text as a program's context shows them, "title | text" (the name is dspy.Retrieve's)."""
        return f"{self.title} | {self.text}" if self.title else self.text


class Retriever(Protocol):
    """Searches one version of one collection."""

    @property
    def collection_version(self) -> str:
        """Name and digest of the collection's version, e.g. `docs-1a2b3c4d`."""
        ...

    @property
    def embedder_name(self) -> str:
        """Name and dimension of the embedder that made the collection, e.g. `offline/bm25`."""
        ...

    def search(self, queries: Sequence[str], k: int) -> Coroutine[Any, Any, list[list[Passage]]]:
        """The `k` best passages for each query, best first: one list per query.

        Raises RetrievalUnavailable, EmbedderUnavailable, EmbedderRateLimited, CollectionMissing.
        """
        ...

    async def aclose(self) -> None:
        """Release connections, threads and scratch files."""
        ...


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def name(self) -> str:
        """Stored with a collection; a search with another name or dimension is refused."""
        ...

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row per text: shape (len(texts), dimension)."""
        ...
