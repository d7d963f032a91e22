# SPDX-License-Identifier: Apache-2.0
"""Hashed dense vectors in which rare terms count more: tf-idf (Salton, Buckley, Information Processing & Management 24,
1988).

A question does not know the corpus, so that its side of the weight is taken at the passage: the passage's terms weigh
idf², the question's 1, and their cosine ranks as with idf on both sides. Questions are therefore embedded as
`offline/hashing` embeds them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from slipway_server.retrieval.encoding import DenseEncoder, Encoded, as_one
from slipway_server.retrieval.hashing import HashingEmbedder, Importance
from slipway_server.retrieval.terms import bigrams, words
from slipway_server.retrieval.types import Passage


class TfIdfEncoder(DenseEncoder):
    """Dense vectors; passages need an encoder that was fitted to their corpus.

    encoder = TfIdfEncoder(1024).fitted(passages)
    """

    independent = False

    def __init__(self, dimension: int, importance: Importance | None = None) -> None:
        super().__init__(HashingEmbedder(dimension))
        self._weighed = HashingEmbedder(dimension, importance)

    def fitted(self, passages: Collection[Passage]) -> TfIdfEncoder:
        """An encoder that knows how many of the passages have each term."""
        return TfIdfEncoder(self.dimension, importance(passages))

    async def passages(self, passages: Sequence[Passage]) -> Encoded:
        """One row per passage."""
        return Encoded(dense=await self._weighed.embed([as_one(passage) for passage in passages]))


def importance(passages: Collection[Passage]) -> Importance:
    """idf² of terms, idf as Qdrant takes it: ln(1 + (passages - with it + 0.5) / (with it + 0.5)).

    In arrays: a corpus of 20,000 passages has two million terms, which would be 200 MB in a dictionary.
    """
    found = [_terms(passage) for passage in passages]
    known, having = np.unique(np.concatenate(found), return_counts=True)
    squared = np.log1p((len(found) - having + 0.5) / (having + 0.5)) ** 2

    def factors(terms: list[int]) -> list[float]:
        asked = np.array(terms, dtype=np.uint32)
        at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where(known[at] == asked, squared[at], 0.0).tolist()

    return factors


def _terms(passage: Passage) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    terms = words(as_one(passage))
    return np.fromiter({*terms, *bigrams(terms)}, dtype=np.uint32)
