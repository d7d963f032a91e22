# SPDX-License-Identifier: Apache-2.0
"""Text into term numbers: Unicode words, folded, without English stop words, stemmed; and pairs of neighbours.

Stop words, folding and the Snowball stemmer are Qdrant Edge's own analyser, asked word by word and remembered.
Numbers are 32-bit and the same in every process.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import qdrant_edge

MAX_CHARS = 4096
"""What comes after is ignored: a question of 256 KB would hold the event loop for a fifth of a second."""

_WORD = re.compile(r"\w+")
_ANALYSER = qdrant_edge.Bm25(qdrant_edge.Bm25Config(language="english", ascii_folding=True))
_MASK64 = (1 << 64) - 1


def words(text: str) -> list[int]:
    """Term numbers of the words in the first 4,096 characters of `text`, in order, stop words left out."""
    return [number for word in _WORD.findall(text[:MAX_CHARS]) for number in _numbers(word)]


def bigrams(terms: Sequence[int]) -> Iterator[int]:
    """A term number for each two neighbours."""
    return (scrambled((first << 32) | second) & 0xFFFFFFFF for first, second in itertools.pairwise(terms))


@lru_cache(maxsize=1 << 14)
def scrambled(number: int) -> int:
    """`number` (64-bit) with its bits well mixed: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK64
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK64
    return number ^ (number >> 31)


@lru_cache(maxsize=1 << 16)
def _numbers(word: str) -> tuple[int, ...]:
    return tuple(_ANALYSER.embed_query(word).indices)
