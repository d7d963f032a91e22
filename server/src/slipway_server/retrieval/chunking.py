# SPDX-License-Identifier: Apache-2.0
"""Cuts documents into passages: at most 1,024 characters, neighbours overlapping by whole sentences.

pieces = split("A long text. With sentences.", Chunking())
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])(?<!\b\w\.)[\"'”’)\]]*\s+|\n{2,}")
"""Also not after a single letter: "M. Ward", "e.g. this"."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents are cut; lengths in characters. A chunk of `min_chars` or fewer is dropped."""

    max_chars: int = 1024
    overlap_chars: int = 128
    min_chars: int = 100


def split(text: str, chunking: Chunking) -> list[str]:
    """Chunks of `text` in order, short ones included; white space at their ends is removed.

    A chunk ends at a sentence end and starts with as many of its predecessor's last sentences as fit into
    `overlap_chars`. Only a sentence longer than a chunk is cut inside: at white space where there is some.
    """
    chunks: list[str] = []
    held: list[str] = []
    fresh = False
    for sentence in (piece for whole in sentences(text) for piece in _pieces(whole, chunking.max_chars)):
        if fresh and _length(held) + len(sentence) > chunking.max_chars:
            chunks.append("".join(held).strip())
            held, fresh = _tail(held, min(chunking.overlap_chars, chunking.max_chars - len(sentence))), False
        held.append(sentence)
        fresh = True
    if fresh:
        chunks.append("".join(held).strip())
    return [chunk for chunk in chunks if chunk]


def _length(sentences: list[str]) -> int:
    return sum(map(len, sentences))


def _tail(sentences: list[str], limit: int) -> list[str]:
    """The last sentences that together have at most `limit` characters, never all of them."""
    start = len(sentences)
    room = limit
    while start > 1 and len(sentences[start - 1]) <= room:
        start -= 1
        room -= len(sentences[start])
    return sentences[start:]


def sentences(text: str) -> Iterator[str]:
    """Sentences with the white space that follows them: joined, they are the text."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    if start < len(text):
        yield text[start:]


def _pieces(sentence: str, limit: int) -> Iterator[str]:
    """The sentence, cut where it is longer than `limit`."""
    while len(sentence) > limit:
        cut = sentence.rfind(" ", 0, limit) + 1 or limit
        yield sentence[:cut]
        sentence = sentence[cut:]
    if sentence:
        yield sentence
