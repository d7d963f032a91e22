# SPDX-License-Identifier: Apache-2.0
"""BM25 as sparse vectors: term weights here, inverse document frequencies in Qdrant (`Modifier.Idf`).

Source: Robertson, Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009. The title counts
TITLE_WEIGHT times (the idea of BM25F: weigh fields before saturation), and pairs of neighbouring words are terms too.
Parameters: docs/retrieval.md says how they were chosen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from slipway_server.retrieval.encoding import Encoded, Sparse
from slipway_server.retrieval.terms import bigrams, words
from slipway_server.retrieval.types import Passage
from slipway_server.telemetry.metrics import EMBEDDED_TEXTS

SATURATION = 1.6
"""k1: how soon further occurrences of a term stop counting."""
LENGTH_NORM = 0.75
"""b: how much long passages are held back."""
AVERAGE_TERMS = 125.0
"""Length of the average passage, pairs included. A constant, so that a passage's vector depends on it alone."""
TITLE_WEIGHT = 4
PAIR_WEIGHT = 1.5
"""Weight of a query's pairs beside its words."""
INLINE_PASSAGES = 8


class Bm25Encoder:
    """Sparse vectors for BM25; no dense ones."""

    name = "offline/bm25"
    dimension = 0
    sparse = True
    fusion = None

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
        return Encoded(sparse=[_document(passage) for passage in passages])


def _document(passage: Passage) -> Sparse:
    counts: Counter[int] = Counter()
    for text, weight in ((passage.title, TITLE_WEIGHT), (passage.text, 1)):
        terms = words(text)
        for term in (*terms, *bigrams(terms)):
            counts[term] += weight
    scale = SATURATION * (1 - LENGTH_NORM + LENGTH_NORM * counts.total() / AVERAGE_TERMS)
    return Sparse(list(counts), [count * (SATURATION + 1) / (count + scale) for count in counts.values()])


def _query(text: str) -> Sparse:
    terms = words(text)
    weights = dict.fromkeys(bigrams(terms), PAIR_WEIGHT) | dict.fromkeys(terms, 1.0)
    return Sparse(list(weights), list(weights.values()))
