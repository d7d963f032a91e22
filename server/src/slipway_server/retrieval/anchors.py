# SPDX-License-Identifier: Apache-2.0
"""Anchor text: what a corpus says where it mentions a passage's title.

A question about "the singer of Transfiguration of Vincent" names an album; the passage about the singer does not, but
the album's passage says "… is an album by M. Ward". Adding that sentence to the passage titled "M. Ward" makes it
findable, without a second search. Source of the idea, for links between pages: Craswell, Hawking, Robertson,
"Effective Site Finding using Link Anchor Information", SIGIR 2001.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping

from slipway_server.retrieval.chunking import sentences
from slipway_server.retrieval.terms import bigrams, words
from slipway_server.retrieval.types import Passage

MAX_MENTIONS = 20
"""A title that is mentioned more often is a common word rather than a name, and gets no anchors."""
_QUALIFIER = re.compile(r"\s*\([^)]*\)\s*$")

Title = tuple[int, ...]


def anchors(passages: Collection[Passage]) -> Mapping[Passage, Counter[int]]:
    """Terms, pairs included, of the sentences that mention each title, with the title of the passage they are in.

    They belong to the first passage of that title. A qualifier at its end, "Frozen (2013 film)", is not looked for.
    """
    first: dict[Title, Passage] = {}
    for passage in sorted(passages, key=lambda passage: (len(passage.id), passage.id, passage.text)):
        first.setdefault(_title(passage), passage)
    first.pop((), None)
    lengths: dict[int, set[int]] = defaultdict(set)
    for title in first:
        lengths[title[0]].add(len(title))
    found: dict[Title, list[Counter[int]]] = defaultdict(list)
    for passage in passages:
        own, heading = _title(passage), words(passage.title)
        for sentence in sentences(passage.text):
            terms = words(sentence)
            mentioned = {title for title in _runs(terms, lengths) if title in first and title != own}
            if mentioned:
                counts = Counter([*heading, *bigrams(heading), *terms, *bigrams(terms)])
                for title in mentioned:
                    found[title].append(counts)
    return {
        first[title]: sum(mentions, Counter()) for title, mentions in found.items() if len(mentions) <= MAX_MENTIONS
    }


def _title(passage: Passage) -> Title:
    return tuple(words(_QUALIFIER.sub("", passage.title)))


def _runs(terms: list[int], lengths: Mapping[int, set[int]]) -> Iterator[Title]:
    """Every run of terms that is as long as a title with the same first term."""
    for start, term in enumerate(terms):
        for length in lengths.get(term, ()):
            yield tuple(terms[start : start + length])
