# SPDX-License-Identifier: Apache-2.0
"""The built-in encoders: the same everywhere, and the settings choose between them."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys

import numpy as np
import pytest

from slipway_server.config import load_settings
from slipway_server.errors import ConfigInvalid
from slipway_server.retrieval.bm25 import AVERAGE_TERMS, LENGTH_NORM, SATURATION, Bm25Encoder
from slipway_server.retrieval.embedders import FUSED, open_encoder
from slipway_server.retrieval.encoding import Fusion, Sparse
from slipway_server.retrieval.hashing import HashingEmbedder
from slipway_server.retrieval.terms import MAX_CHARS, bigrams, words
from slipway_server.retrieval.tfidf import TfIdfEncoder, importance
from slipway_server.retrieval.types import Passage

TEXT = "The lighthouse keepers of Ardnish were rowing to the café."


def test_words_are_folded_stemmed_and_without_stop_words() -> None:
    assert words("The keepers") == words("a KEEPER, of the")
    assert words("café") == words("cafe")
    assert words("the of ?!") == []
    assert len(words("keeper's lighthouse")) == 2


def test_an_endless_text_is_cut() -> None:
    assert words("lighthouse " * 100_000)[:-1] == words("lighthouse") * (MAX_CHARS // len("lighthouse "))


def test_pairs_keep_their_order() -> None:
    first, second = words("lighthouse keeper"), words("keeper lighthouse")
    assert sorted(first) == sorted(second)
    assert list(bigrams(first)) != list(bigrams(second))


async def test_hashing_gives_unit_rows_and_zeros_for_nothing() -> None:
    rows = await HashingEmbedder(64).embed([TEXT, "the of", ""] * 4)
    assert rows.shape == (12, 64)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 0] * 4, atol=1e-6)
    np.testing.assert_array_equal(rows[0], rows[3])


async def test_hashing_finds_words_in_common() -> None:
    asked, near, far = await HashingEmbedder().embed(["who keeps the lighthouse", TEXT, "Bread is baked in ovens."])
    assert asked @ near > 0.2 > 0.1 > asked @ far


async def test_both_are_the_same_in_another_process() -> None:
    script = (
        "import asyncio, sys\n"
        "from slipway_server.retrieval.bm25 import Bm25Encoder\n"
        "from slipway_server.retrieval.hashing import HashingEmbedder\n"
        "rows = asyncio.run(HashingEmbedder().embed([sys.argv[1]]))\n"
        "query = asyncio.run(Bm25Encoder().queries([sys.argv[1]])).sparse\n"
        "print(rows.tobytes().hex(), query)\n"
    )
    there = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script, TEXT], capture_output=True, text=True, check=True
    )
    here = (await HashingEmbedder().embed([TEXT])).tobytes().hex()
    assert there.stdout == f"{here} {(await Bm25Encoder().queries([TEXT])).sparse}\n"


async def test_bm25_weighs_as_the_formula_says() -> None:
    encoded = await Bm25Encoder().passages([Passage("1", "", "keeper keeper lighthouse")])
    assert encoded.sparse is not None
    weights = dict(zip(*encoded.sparse[0], strict=True))
    # Three words and the pairs keeper-keeper and keeper-lighthouse.
    scale = SATURATION * (1 - LENGTH_NORM + LENGTH_NORM * 5 / AVERAGE_TERMS)
    keeper, lighthouse = words("keeper lighthouse")
    assert weights[keeper] == pytest.approx(2 * (SATURATION + 1) / (2 + scale))
    assert weights[lighthouse] == pytest.approx((SATURATION + 1) / (1 + scale))
    assert len(weights) == 4


async def test_a_title_weighs_more_than_the_text() -> None:
    encoded = await Bm25Encoder().passages([Passage("1", "lighthouse", "keeper")])
    assert encoded.sparse is not None
    weights = dict(zip(*encoded.sparse[0], strict=True))
    assert weights[words("lighthouse")[0]] > weights[words("keeper")[0]]


@pytest.mark.parametrize(
    ("model", "name", "dimension", "sparse"),
    [
        ("offline/default", FUSED, 256, True),
        ("offline/bm25", "offline/bm25", 0, True),
        ("offline/hashing", "offline/hashing", 256, False),
        ("offline/fused", FUSED, 256, True),
        (FUSED, FUSED, 256, True),
    ],
)
async def test_settings_choose_the_encoder(model: str, name: str, dimension: int, sparse: bool) -> None:
    encoder = open_encoder(load_settings({"embedding_model": model, "embedding_dimension": 256}, environ={}))
    assert (encoder.name, encoder.dimension, encoder.sparse) == (name, dimension, sparse)
    assert (encoder.fusion is not None) == (name == FUSED)


@pytest.mark.parametrize(
    ("configured", "made_with", "dimension", "read"),
    [
        ("offline/default", "offline/bm25", 0, True),
        ("offline/default", "offline/hashing", 64, True),
        ("offline/default", FUSED, 64, True),
        ("offline/default", "offline/fused", 64, True),
        ("offline/default", "qwen3-embedding", 1024, False),
        ("offline/fused", "offline/fused", 1024, True),
        ("offline/fused", FUSED, 512, False),
        ("offline/fused", "offline/bm25", 0, False),
        ("offline/bm25", FUSED, 1024, False),
        ("offline/bm25", "offline/bm25", 0, True),
        ("offline/hashing", "offline/hashing", 512, False),
    ],
)
def test_only_the_default_reads_what_another_made(configured: str, made_with: str, dimension: int, read: bool) -> None:
    encoder = open_encoder(load_settings({"embedding_model": configured}, environ={}))
    found = encoder.reading(made_with, dimension)
    assert (found is not None) == read
    if found is not None:
        assert found.dimension == dimension
        assert found.name == (FUSED if made_with == "offline/fused" else made_with)


def test_one_weight_fits_short_and_long_questions() -> None:
    fusion = Fusion(dense_weight=2.0)
    assert fusion.scale(Sparse([1, 2, 3], [1.0, 1.0, 0.5])) == 5.0


async def test_rare_words_weigh_more_in_a_passage_but_not_in_a_question() -> None:
    passages = [Passage(str(number), "", "harbour lighthouse" if number else "harbour quarry") for number in range(9)]
    common, rare = importance(passages)(words("harbour quarry"))
    assert common == pytest.approx(math.log(1 + 0.5 / 9.5) ** 2)
    assert rare == pytest.approx(math.log(1 + 8.5 / 1.5) ** 2)
    assert importance(passages)(words("foundry")) == [0.0]
    encoder = TfIdfEncoder(1024).fitted(passages)
    encoded, asked = await encoder.passages(passages[:1]), await encoder.queries(["harbour", "quarry"])
    assert encoded.dense is not None
    assert asked.dense is not None
    to_common, to_rare = asked.dense @ encoded.dense[0]
    assert to_rare > 100 * to_common > 0
    np.testing.assert_array_equal(asked.dense, await HashingEmbedder().embed(["harbour", "quarry"]))


async def test_passages_without_a_known_word_have_no_direction() -> None:
    passages = [Passage("1", "", "of the ?!")]
    assert not (await TfIdfEncoder(64).fitted(passages).passages(passages)).dense.any()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model", "message"),
    [("offline/best", "offline/best is not built in"), ("qwen3-embedding", "set SLIPWAY_EMBEDDING_BASE_URL")],
)
def test_a_wrong_model_names_the_remedy(model: str, message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        open_encoder(load_settings({"embedding_model": model}, environ={}))
