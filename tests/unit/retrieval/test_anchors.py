# SPDX-License-Identifier: Apache-2.0
"""Passages are found by what others say of them."""

from __future__ import annotations

import random

import pytest

from slipway_server.retrieval.anchors import MAX_MENTIONS, anchors
from slipway_server.retrieval.bm25 import Bm25Encoder
from slipway_server.retrieval.terms import bigrams, words
from slipway_server.retrieval.types import Passage

SINGER = Passage("s", "M. Ward", "He was born in Ventura County and lives in Portland.")
ALBUM = Passage("a", "Transfiguration", "It came out in 2003. Transfiguration is an album by M. Ward. It was praised.")
OTHER = Passage("o", "Portland cement", "It is a binder for concrete.")


def test_a_sentence_that_mentions_a_title_belongs_to_its_passage() -> None:
    found = anchors([SINGER, ALBUM, OTHER])
    assert set(found) == {SINGER}
    said = words("Transfiguration is an album by M. Ward.")
    expected = {*words("Transfiguration"), *said, *bigrams(said)}
    assert set(found[SINGER]) == expected


async def test_it_joins_the_passage_s_terms() -> None:
    encoder = Bm25Encoder().fitted([SINGER, ALBUM, OTHER])
    [with_anchors, alone] = (await encoder.passages([SINGER, OTHER])).sparse or []
    assert words("album")[0] in with_anchors.indices
    assert alone == ((await Bm25Encoder().passages([OTHER])).sparse or [])[0]


def test_the_order_of_the_corpus_does_not_matter() -> None:
    corpus = [SINGER, ALBUM, OTHER, Passage("s#1", "M. Ward", "More of him."), Passage("z", "Z", "M. Ward met Z.")]
    expected = anchors(corpus)
    random.Random(1).shuffle(corpus)
    assert anchors(corpus) == expected


def test_only_the_first_passage_of_a_title_gets_them_and_it_does_not_speak_of_itself() -> None:
    parts = [Passage(f"d#{n}", "Demon Dice", f"Part {n} of Demon Dice.") for n in range(12)]
    assert anchors(parts) == {}
    mention = Passage("m", "Lester Smith", "He made Demon Dice.")
    assert set(anchors([*reversed(parts), mention])) == {parts[0]}


def test_a_qualifier_is_not_looked_for() -> None:
    film = Passage("f", "Frozen (2013 film)", "A princess and snow.")
    assert set(anchors([film, Passage("x", "Disney", "Disney made Frozen in Burbank.")])) == {film}


@pytest.mark.parametrize("title", ["", "the of", "(2013 film)"])
def test_a_title_without_words_has_no_anchors(title: str) -> None:
    assert anchors([Passage("1", title, "Some text."), Passage("2", "Two", "The of some (2013 film).")]) == {}


def test_a_common_word_is_no_name() -> None:
    bread = Passage("b", "Bread", "Flour and water.")
    mentions = [Passage(str(n), f"Baker {n}", f"Baker {n} sells bread.") for n in range(MAX_MENTIONS + 1)]
    assert bread in anchors([bread, *mentions[:MAX_MENTIONS]])
    assert bread not in anchors([bread, *mentions])
