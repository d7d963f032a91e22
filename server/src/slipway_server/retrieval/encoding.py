# SPDX-License-Identifier: Apache-2.0
"""From texts to what a collection stores and is searched by: dense vectors, sparse vectors, or both.

    encoder = DenseEncoder(HashingEmbedder())
    stored = await encoder.passages([Passage("1", "Title", "Text.")])
    asked = await encoder.queries(["a question"])

Every backend takes the same `Encoded`, so that an encoder is written once.
"""

from __future__ import annotations

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

    def asked(self, row: int) -> tuple[list[float] | None, Sparse | None]:
        """What a query's row asks for; None for a vector that is not there, or without a single term."""
        dense = self.dense[row].tolist() if self.dense is not None and self.dense[row].any() else None
        sparse = self.sparse[row] if self.sparse is not None and self.sparse[row].indices else None
        return dense, sparse

    def take(self, rows: Sequence[int]) -> Encoded:
        """Only these rows, in this order."""
        return Encoded(
            None if self.dense is None else self.dense[list(rows)],
            None if self.sparse is None else [self.sparse[row] for row in rows],
        )


@dataclass(frozen=True, slots=True)
class Fusion:
    """A convex combination of scores: Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", ACM
    TOIS 42(1), 2023, which finds it better than reciprocal ranks, and in need of one weight only.

    score = sparse score + dense_weight · Σ(weights of the question's terms) · cosine: BM25's scores grow with the
    question, cosines do not. `depth`: how many passages, the best by their sparse score, get both.
    """

    dense_weight: float
    depth: int = 50

    def scale(self, asked: Sparse) -> float:
        """What the cosine is multiplied by for one question."""
        return self.dense_weight * sum(asked.values)


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
        """How two scores become one; None where there is only one."""
        ...

    @property
    def independent(self) -> bool:
        """Whether a passage's vectors depend on it alone, so that another version can use them again."""
        ...

    def reading(self, name: str, dimension: int) -> Encoder | None:
        """The encoder that searches what `name` made with dense vectors of `dimension`; None where this one cannot."""
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
    fusion: Fusion | None = None
    independent = True

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name = embedder.name
        self.dimension = embedder.dimension

    def reading(self, name: str, dimension: int) -> Encoder | None:
        """Itself, for what it made."""
        return self if (name, dimension) == (self.name, self.dimension) else None

    def fitted(self, passages: Collection[Passage]) -> DenseEncoder:
        """Itself."""
        return self

    async def passages(self, passages: Sequence[Passage]) -> Encoded:
        """One row per passage."""
        return Encoded(dense=await self._embedder.embed([as_one(passage) for passage in passages]))

    async def queries(self, texts: Sequence[str]) -> Encoded:
        """One row per query."""
        return Encoded(dense=await self._embedder.embed(texts))

    async def aclose(self) -> None:
        """Release the embedder's connections."""
        close = getattr(self._embedder, "aclose", None)
        if close is not None:
            await close()


def as_one(passage: Passage) -> str:
    """Title and text as they are embedded."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


class FusedEncoder:
    """Searches by sparse and dense vectors and fuses their scores."""

    sparse = True

    def __init__(
        self, name: str, dense: Encoder, sparse: Encoder, fusion: Fusion, also_reads: Collection[str] = ()
    ) -> None:
        self.name = name
        self._reads = {name, *also_reads}
        self.dimension = dense.dimension
        self.fusion = fusion
        self.independent = dense.independent and sparse.independent
        self._dense, self._sparse = dense, sparse

    def reading(self, name: str, dimension: int) -> Encoder | None:
        """Itself, for what it or one of `also_reads` made."""
        return self if name in self._reads and dimension == self.dimension else None

    def fitted(self, passages: Collection[Passage]) -> FusedEncoder:
        """Both, fitted."""
        return FusedEncoder(self.name, self._dense.fitted(passages), self._sparse.fitted(passages), self.fusion)

    async def passages(self, passages: Sequence[Passage]) -> Encoded:
        """One row per passage."""
        dense, sparse = await self._dense.passages(passages), await self._sparse.passages(passages)
        return Encoded(dense.dense, sparse.sparse)

    async def queries(self, texts: Sequence[str]) -> Encoded:
        """One row per query."""
        # One after the other: both compute here, and two tasks would cost as much as the sparse vector.
        dense, sparse = await self._dense.queries(texts), await self._sparse.queries(texts)
        return Encoded(dense.dense, sparse.sparse)

    async def aclose(self) -> None:
        """Release both."""
        await self._dense.aclose()
        await self._sparse.aclose()
