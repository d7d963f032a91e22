# SPDX-License-Identifier: Apache-2.0
"""Documents are cut at sentence ends, overlap by whole sentences and lose nothing."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.retrieval.chunking import Chunking, sentences, split

ENDINGS = st.sampled_from([" ", " ", ". ", "! ", "?\n", "\n\n", "。 ", '." '])
TEXTS = st.lists(ENDINGS, max_size=120).map(lambda ends: "".join(f"w{n}{end}" for n, end in enumerate(ends)))
SHAPES = st.builds(Chunking, max_chars=st.integers(10, 120), overlap_chars=st.integers(0, 40))


def test_a_short_text_is_one_chunk() -> None:
    assert split("  One sentence. And another.\n", Chunking()) == ["One sentence. And another."]


def test_nothing_gives_nothing() -> None:
    assert split(" \n\t ", Chunking()) == []


def test_chunks_end_at_sentences_and_start_with_the_last_one_of_their_predecessor() -> None:
    sentences = [f"Sentence number {number} is here." for number in range(10)]
    chunks = split(" ".join(sentences), Chunking(max_chars=100, overlap_chars=40))
    assert chunks[0] == " ".join(sentences[:3])
    assert chunks[1] == " ".join(sentences[2:5])
    assert chunks[-1].endswith(sentences[-1])


def test_initials_and_abbreviations_end_no_sentence() -> None:
    text = 'It is by M. Ward, e.g. the U.S. edition. Is it? "Yes." Then it ends.'
    assert [sentence.strip() for sentence in sentences(text)] == [
        "It is by M. Ward, e.g. the U.S. edition.",
        "Is it?",
        '"Yes."',
        "Then it ends.",
    ]


def test_a_sentence_longer_than_a_chunk_is_cut_at_white_space() -> None:
    chunks = split("word " * 50, Chunking(max_chars=22, overlap_chars=0))
    assert set(chunks) == {"word word word word"} | {chunks[-1]}


def test_a_word_longer_than_a_chunk_is_cut() -> None:
    assert split("x" * 25, Chunking(max_chars=10, overlap_chars=5)) == ["x" * 10, "x" * 10, "x" * 5]


@given(TEXTS, SHAPES)
@settings(max_examples=200)
def test_no_chunk_is_too_long_no_word_is_lost_and_each_chunk_brings_new_ones(text: str, shape: Chunking) -> None:
    known = -1
    for chunk in split(text, shape):
        assert 0 < len(chunk) <= shape.max_chars
        numbers = [int(number) for number in re.findall(r"w(\d+)", chunk)]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert numbers[0] <= known + 1 <= numbers[-1]
        known = numbers[-1]
    assert known == text.count("w") - 1
