# SPDX-License-Identifier: Apache-2.0
"""A dense embedder without a model: feature hashing.

Source: Weinberger, Dasgupta, Langford, Smola, Attenberg, "Feature Hashing for Large Scale Multitask Learning",
ICML 2009: each term adds ±weight to one of `dimension` buckets, bucket and sign taken from two independent hashes, so
that collisions cancel out in expectation. Weights are 1 + ln(count), the rows unit vectors. Terms are stemmed words
and their neighbours in pairs. Nothing is learnt: words in common count, meaning does not.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from slipway_server.retrieval.terms import bigrams, scrambled, words
from slipway_server.telemetry.metrics import EMBEDDED_TEXTS

DIMENSION = 1024
INLINE_TEXTS = 8
"""More texts than this are embedded in a thread."""
PAIR_WEIGHT = 0.5

Importance = Callable[[list[int]], list[float]]
"""A factor for each of some terms."""


class HashingEmbedder:
    """Feature hashing; the same in every process and on every machine.

    embedder = HashingEmbedder()
    vectors = await embedder.embed(["a text"])  # shape (1, 1024), unit rows; a text without terms gives zeros
    """

    def __init__(self, dimension: int = DIMENSION, importance: Importance | None = None) -> None:
        self.name = "offline/hashing"
        self.dimension = dimension
        self._importance = importance

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row per text."""
        EMBEDDED_TEXTS.labels("builtin").inc(len(texts))
        if len(texts) <= INLINE_TEXTS:
            return self._embed(texts)
        return await asyncio.to_thread(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            buckets = self._buckets(text)
            length = math.hypot(*buckets.values())
            if length > 0:
                row[list(buckets)] = [value / length for value in buckets.values()]
        return rows

    def _buckets(self, text: str) -> dict[int, float]:
        terms = words(text)
        weights = {term: 1.0 + math.log(count) for term, count in Counter(terms).items()}
        for pair, count in Counter(bigrams(terms)).items():
            weights[pair] = weights.get(pair, 0.0) + PAIR_WEIGHT * (1.0 + math.log(count))
        if self._importance is not None:
            factors = self._importance(list(weights))
            weights = {term: weights[term] * factor for term, factor in zip(weights, factors, strict=True)}
        buckets: dict[int, float] = defaultdict(float)
        for term, weight in weights.items():
            mixed = scrambled(term)
            buckets[(mixed >> 1) % self.dimension] += weight if mixed & 1 else -weight
        return buckets
