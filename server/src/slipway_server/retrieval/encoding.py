# SPDX-License-Identifier: Apache-2.0
"""From texts to what a collection stores and is searched by: dense vectors, sparse vectors, or both.

    encoder = DenseEncoder(HashingEmbedder())
    stored = await encoder.passages([Passage("1", "Title", "Text.")])
    asked = await encoder.queries(["a question"])

Every backend takes the same `Encoded`, so that an encoder is written once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from slipway_server.retrieval.types import Embedder, Passage


class Sparse(NamedTuple):
    """A sparse vector: weights by 32-bit term number."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows of one batch. `dense`: unit vectors, shape (rows, dimension). At least one of the two is there."""

    dense: NDArray[np.float32] | None = None
    sparse: Sequence[Sparse] | None = None

    def __len__(self) -> int:
        return len(self.sparse) if self.sparse is not None else len(self.dense) if self.dense is not None else 0

    def take(self, rows: Sequence[int]) -> Encoded:
        """Only these rows, in this order."""
        return Encoded(
            None if self.dense is None else self.dense[list(rows)],
            None if self.sparse is None else [self.sparse[row] for row in rows],
        )


@dataclass(frozen=True, slots=True)
class Fusion:
    """Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009) as Qdrant weighs it.

    score = Σ 1 / (k - 1 + rank / weight), ranks from 1. `depth`: how many passages of each ranking are fused.
    """

    k: int = 60
    dense_weight: float = 1.0
    sparse_weight: float = 1.0
    depth: int = 50


class Encoder(Protocol):
    """What a collection is made with and searched by."""

    @property
    def name(self) -> str:
        """Stored with the collection; changes whenever the same text gives other vectors."""
        ...

    @property
    def dimension(self) -> int:
        """Length of the dense vectors; 0 where there are none."""
        ...

    @property
    def sparse(self) -> bool:
        """Whether there are sparse vectors."""
        ...

    @property
    def fusion(self) -> Fusion | None:
        """How both rankings become one; None where there is only one."""
        ...

    @property
    def independent(self) -> bool:
        """Whether a passage's vectors depend on it alone, so that another version can use them again."""
        ...

    def fitted(self, passages: Collection[Passage]) -> Encoder:
        """The encoder for a version that holds these passages; blocks its thread."""
        ...

    async def passages(self, passages: Sequence[Passage]) -> Encoded:
        """One row per passage."""
        ...

    async def queries(self, texts: Sequence[str]) -> Encoded:
        """One row per query."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


class DenseEncoder:
    """Searches by an Embedder's vectors; title and text are embedded as one."""

    sparse = False
    fusion = None
    independent = True

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name = embedder.name
        self.dimension = embedder.dimension

    def fitted(self, passages: Collection[Passage]) -> DenseEncoder:
        """Itself."""
        return self

    async def passages(self, passages: Sequence[Passage]) -> Encoded:
        """One row per passage."""
        texts = [f"{passage.title}\n{passage.text}" if passage.title else passage.text for passage in passages]
        return Encoded(dense=await self._embedder.embed(texts))

    async def queries(self, texts: Sequence[str]) -> Encoded:
        """One row per query."""
        return Encoded(dense=await self._embedder.embed(texts))

    async def aclose(self) -> None:
        """Release the embedder's connections."""
        close = getattr(self._embedder, "aclose", None)
        if close is not None:
            await close()


class FusedEncoder:
    """Searches by dense and sparse vectors and fuses the two rankings."""

    sparse = True

    def __init__(self, name: str, dense: Encoder, sparse: Encoder, fusion: Fusion) -> None:
        self.name = name
        self.dimension = dense.dimension
        self.fusion = fusion
        self.independent = dense.independent and sparse.independent
        self._dense, self._sparse = dense, sparse

    def fitted(self, passages: Collection[Passage]) -> FusedEncoder:
        """Both, fitted."""
        return FusedEncoder(self.name, self._dense.fitted(passages), self._sparse.fitted(passages), self.fusion)

    async def passages(self, passages: Sequence[Passage]) -> Encoded:
        """One row per passage."""
        dense, sparse = await asyncio.gather(self._dense.passages(passages), self._sparse.passages(passages))
        return Encoded(dense.dense, sparse.sparse)

    async def queries(self, texts: Sequence[str]) -> Encoded:
        """One row per query."""
        dense, sparse = await asyncio.gather(self._dense.queries(texts), self._sparse.queries(texts))
        return Encoded(dense.dense, sparse.sparse)

    async def aclose(self) -> None:
        """Release both."""
        await self._dense.aclose()
        await self._sparse.aclose()
