# SPDX-License-Identifier: Apache-2.0
"""BM25 as sparse vectors: term weights here, inverse document frequencies in Qdrant (`Modifier.Idf`).

Source: Robertson, Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009. Title, text and anchors
are weighed before saturation (the idea of BM25F), and pairs of neighbouring words are terms too.
Parameters: docs/retrieval.md says how they were chosen.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from slipway_server.retrieval.anchors import anchors
from slipway_server.retrieval.encoding import Encoded, Encoder, Fusion, Sparse
from slipway_server.retrieval.terms import bigrams, words
from slipway_server.retrieval.types import Passage
from slipway_server.telemetry.metrics import EMBEDDED_TEXTS

SATURATION = 1.2
"""k1: how soon further occurrences of a term stop counting."""
LENGTH_NORM = 0.75
"""b: how much long passages are held back."""
AVERAGE_TERMS = 125.0
"""Length of the average passage, pairs included; a constant, for all that it does is to set b's scale."""
TITLE_WEIGHT = 2
ANCHOR_WEIGHT = 0.7
"""Weight of what other passages say where they mention the title; it does not count as length."""
PAIR_WEIGHT = 0.5
"""Weight of a query's pairs beside its words."""
INLINE_PASSAGES = 8


class Bm25Encoder:
    """Sparse vectors for BM25; no dense ones.

    encoder = Bm25Encoder().fitted(passages)  # with the corpus's anchors; searching needs no fitting
    """

    name = "offline/bm25"
    dimension = 0
    sparse = True
    fusion: Fusion | None = None
    independent = False

    def __init__(self, anchors: Mapping[Passage, Counter[int]] | None = None) -> None:
        self._anchors = anchors or {}

    def reading(self, name: str, dimension: int) -> Encoder | None:
        """Itself, for what it made."""
        return self if (name, dimension) == (self.name, self.dimension) else None

    def fitted(self, passages: Collection[Passage]) -> Bm25Encoder:
        """An encoder that knows what the passages say of one another."""
        return Bm25Encoder(anchors(passages))

    async def passages(self, passages: Sequence[Passage]) -> Encoded:
        """One row per passage."""
        EMBEDDED_TEXTS.labels("builtin").inc(len(passages))
        if len(passages) <= INLINE_PASSAGES:
            return self._passages(passages)
        return await asyncio.to_thread(self._passages, passages)

    async def queries(self, texts: Sequence[str]) -> Encoded:
        """One row per query."""
        EMBEDDED_TEXTS.labels("builtin").inc(len(texts))
        return Encoded(sparse=[_query(text) for text in texts])

    async def aclose(self) -> None:
        """Nothing to release."""

    def _passages(self, passages: Sequence[Passage]) -> Encoded:
        return Encoded(sparse=[_document(passage, self._anchors.get(passage)) for passage in passages])


def _document(passage: Passage, said: Counter[int] | None) -> Sparse:
    counts: dict[int, float] = defaultdict(float)
    for text, weight in ((passage.title, TITLE_WEIGHT), (passage.text, 1)):
        terms = words(text)
        for term in (*terms, *bigrams(terms)):
            counts[term] += weight
    scale = SATURATION * (1 - LENGTH_NORM + LENGTH_NORM * sum(counts.values()) / AVERAGE_TERMS)
    for term, count in (said or {}).items():
        counts[term] += ANCHOR_WEIGHT * count
    return Sparse(list(counts), [count * (SATURATION + 1) / (count + scale) for count in counts.values()])


def _query(text: str) -> Sparse:
    terms = words(text)
    weights = dict.fromkeys(bigrams(terms), PAIR_WEIGHT) | dict.fromkeys(terms, 1.0)
    return Sparse(list(weights), list(weights.values()))
