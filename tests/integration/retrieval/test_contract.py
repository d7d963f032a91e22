# SPDX-License-Identifier: Apache-2.0
"""What every backend promises: search, versions, switching, appending, mismatches, resuming."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from slipway_server.config import load_settings
from slipway_server.errors import (
    CollectionMismatch,
    CollectionMissing,
    ConfigInvalid,
    CorpusInvalid,
    EmbedderUnavailable,
)
from slipway_server.retrieval import embedded, open_retriever
from slipway_server.retrieval.corpus import Document
from slipway_server.retrieval.embedders import FUSED
from slipway_server.retrieval.encoding import Encoded
from slipway_server.retrieval.ingest import run
from slipway_server.retrieval.types import Passage

MODELS = ("offline/bm25", "offline/hashing", "offline/fused")
THINGS = ("lighthouse", "harbour", "bakery", "quarry", "orchard", "foundry", "brewery", "library", "windmill", "market")
TRADES = ("glass", "timber", "barley", "granite", "apples", "bronze", "parchment", "flour", "wool", "salt")


def documents(things: Sequence[str] = THINGS, trades: Sequence[str] = TRADES) -> list[Document]:
    """A hundred short documents, each about one thing and one trade."""
    return [
        Document(
            f"{thing}-{trade}",
            f"The {thing} of {trade}",
            f"In the old town stands a {thing} that is known for its {trade}. People come from the whole coast to see "
            f"how the {trade} is handled there, and the {thing} closes only on the shortest day of the year.",
        )
        for thing, trade in itertools.product(things, trades)
    ]


@pytest.mark.parametrize("model", MODELS)
async def test_one_result_list_per_query_best_first(backend: Any, model: str) -> None:
    summary = await backend.ingest(documents(), embedding_model=model)
    retriever = await backend.open(embedding_model=model)
    assert retriever.collection_version == summary.version
    assert retriever.embedder_name == summary.embedder == (FUSED if model == "offline/fused" else model)
    asked = ["Where is the quarry of salt?", "bakery and wool", "windmill parchment"]
    found = await retriever.search(asked, 4)
    assert [len(passages) for passages in found] == [4, 4, 4]
    best = [passages[0] for passages in found]
    assert [passage.id for passage in best] == ["quarry-salt", "bakery-wool", "windmill-parchment"]
    assert best[0].title == "The quarry of salt"
    assert best[0].text.startswith("In the old town stands a quarry")
    for passages in found:
        scores = [passage.score for passage in passages]
        assert scores == sorted(scores, reverse=True)
        assert len({passage.id for passage in passages}) == 4
    assert await retriever.search([], 3) == []
    assert len((await retriever.search(asked[:1], 1000))[0]) <= 100


@pytest.mark.parametrize("model", MODELS)
async def test_a_query_without_a_known_word_is_no_error(backend: Any, model: str) -> None:
    await backend.ingest(documents(THINGS[:2]), embedding_model=model)
    retriever = await backend.open(embedding_model=model)
    found = await retriever.search(["", "of the ?!", "lighthouse salt", "\U0001f600 \x00"], 2)
    assert found[0] == found[1] == []
    assert found[2][0].id == "lighthouse-salt"


async def test_the_same_corpus_is_the_same_version_in_any_order(backend: Any) -> None:
    first = await backend.ingest(documents())
    again = await backend.ingest(reversed(documents()))
    assert (first.changed, again.changed) == (True, False)
    assert again.version == first.version
    assert again.embedded == 0
    other = await backend.ingest(documents(), embedding_model="offline/hashing")
    assert other.changed
    assert other.version != first.version


async def test_an_ingest_replaces_what_is_no_longer_in_the_corpus(backend: Any) -> None:
    model = {"embedding_model": "offline/hashing"}
    first = await backend.ingest(documents(THINGS[:3]), **model)
    second = await backend.ingest(documents(THINGS[1:4]), **model)
    assert (second.passages, second.reused, second.embedded) == (30, 20, 10)
    retriever = await backend.open(**model)
    [found] = await retriever.search(["the lighthouse of glass"], 30)
    assert not [passage.id for passage in found if passage.id.startswith("lighthouse")]
    assert await backend.stored_versions() == {first.version, second.version}


async def test_append_keeps_what_was_there(backend: Any) -> None:
    model = {"embedding_model": "offline/hashing"}
    await backend.ingest(documents(THINGS[:2]), **model)
    summary = await backend.ingest(documents(THINGS[1:3]), append=True, **model)
    assert (summary.passages, summary.reused, summary.embedded) == (30, 20, 10)
    whole = await backend.ingest(documents(THINGS[:3]), **model)
    assert whole.version == summary.version
    assert not whole.changed
    retriever = await backend.open(**model)
    found = await retriever.search([f"the {thing} of glass" for thing in THINGS[:3]], 1)
    assert [passages[0].id for passages in found] == [f"{thing}-glass" for thing in THINGS[:3]]


@pytest.mark.parametrize(("model", "other"), [("offline/bm25", "offline/hashing"), ("offline/hashing", "offline/bm25")])
async def test_reused_vectors_find_the_same_as_new_ones(backend: Any, model: str, other: str) -> None:
    await backend.ingest(documents(THINGS[:5]), embedding_model=model)
    # Anchors come from the whole corpus: with BM25 every version is encoded anew.
    again = 50 if model == "offline/hashing" else 0
    assert (await backend.ingest(documents(THINGS), embedding_model=model)).reused == again
    asked = [f"{thing} {trade}" for thing, trade in zip(THINGS, TRADES, strict=True)]
    grown = await (await backend.open(embedding_model=model)).search(asked, 3)
    for count in (1, 2):  # after two other versions nothing of it is left
        await backend.ingest(documents(THINGS[:count]), embedding_model=other)
    assert (await backend.ingest(documents(THINGS), embedding_model=model)).reused == 0
    made_at_once = await (await backend.open(embedding_model=model)).search(asked, 3)
    for left, right in zip(grown, made_at_once, strict=True):
        assert left[0].id == right[0].id
        assert [passage.score for passage in left] == pytest.approx([passage.score for passage in right], rel=1e-4)


async def test_an_open_retriever_survives_two_ingests(backend: Any) -> None:
    await backend.ingest(documents(THINGS[:2]))
    retriever = await backend.open()
    for count in (3, 4, 5):
        newest = await backend.ingest(documents(THINGS[:count]))
    [found] = await retriever.search(["the lighthouse of glass"], 1)
    assert found[0].id == "lighthouse-glass"
    assert len(await backend.stored_versions()) == 2
    assert (await backend.open()).collection_version == newest.version


async def test_a_missing_collection(backend: Any) -> None:
    with pytest.raises(CollectionMissing, match="slipway ingest"):
        await backend.open()
    with pytest.raises(CollectionMissing, match="without --append"):
        await backend.ingest(documents(), append=True)


@pytest.mark.parametrize(
    "other", [{"embedding_model": "offline/bm25"}, {"embedding_model": "offline/hashing", "embedding_dimension": 512}]
)
async def test_another_embedder_or_dimension_is_a_clear_error(backend: Any, other: dict[str, Any]) -> None:
    await backend.ingest(documents(THINGS[:1]), embedding_model="offline/hashing")
    with pytest.raises(CollectionMismatch, match=r"was made with offline/hashing \(1024 dimensions\)"):
        await backend.open(**other)
    with pytest.raises(CollectionMismatch, match="was made with"):
        await backend.ingest(documents(THINGS[:2]), append=True, **other)


@pytest.mark.parametrize("made_with", ["offline/bm25", "offline/hashing"])
async def test_the_default_serves_what_an_older_default_made(backend: Any, made_with: str) -> None:
    await backend.ingest(documents(THINGS[:2]), embedding_model=made_with)
    retriever = await backend.open()
    assert retriever.embedder_name == made_with
    expected = await (await backend.open(embedding_model=made_with)).search(["lighthouse of salt"], 3)
    assert await retriever.search(["lighthouse of salt"], 3) == expected
    grown = await backend.ingest(documents(THINGS[:3]), append=True)
    assert (grown.embedder, grown.passages) == (made_with, 30)
    assert (await backend.ingest(documents(THINGS[:3]))).embedder == FUSED
    assert (await backend.open()).embedder_name == FUSED


async def test_an_open_retriever_follows_the_default_to_another_embedder(backend: Any) -> None:
    await backend.ingest(documents(THINGS[:2]), embedding_model="offline/bm25")
    retriever = await backend.open()
    for count in (3, 4):
        await backend.ingest(documents(THINGS[:count]))
    [found] = await retriever.search(["the lighthouse of glass"], 1)
    assert found[0].id == "lighthouse-glass"
    assert retriever.embedder_name == ("offline/bm25" if backend.name == "edge" else FUSED)


async def test_a_corpus_without_a_passage_changes_nothing(backend: Any) -> None:
    first = await backend.ingest(documents(THINGS[:1]))
    with pytest.raises(CorpusInvalid, match="No passage is left of 1 documents"):
        await backend.ingest([Document("1", "Short", "Too short to keep.")])
    assert (await backend.open()).collection_version == first.version


async def test_append_makes_anchors_anew(backend: Any) -> None:
    album = Document("album", "Transfiguration", f"{'It came out in the spring. ' * 4} It is an album by Ward.")
    singer = Document("singer", "Ward", "He lives in a town by the sea and keeps bees, " * 3)
    await backend.ingest([singer])
    await backend.ingest([album], append=True)
    [found] = await (await backend.open()).search(["Who made the album Transfiguration?"], 2)
    assert [passage.id for passage in found] == ["album", "singer"]


async def test_short_chunks_and_duplicates_are_counted(backend: Any) -> None:
    [kept] = documents(THINGS[:1], TRADES[:1])
    corpus = [kept, Document("again", kept.title, kept.text), Document("s", "Short", "x" * 100)]
    summary = await backend.ingest(corpus)
    assert (summary.documents, summary.passages, summary.duplicates) == (3, 1, 1)
    assert (summary.dropped, summary.documents_dropped) == (1, 1)


async def test_long_documents_become_numbered_passages(backend: Any) -> None:
    text = " ".join(f"Sentence {number} speaks of the {TRADES[number % 10]} trade." for number in range(120))
    summary = await backend.ingest([Document("long", "Trades", text), Document("", "Nameless", text[:300])])
    retriever = await backend.open()
    [found] = await retriever.search(["sentence 119 trade of salt"], summary.passages)
    names = {passage.id for passage in found}
    assert {f"long#{number}" for number in range(summary.passages - 1)} < names
    assert all(len(passage.text) <= 1024 for passage in found)
    [nameless] = names - {f"long#{number}" for number in range(summary.passages - 1)}
    assert len(nameless) == 36


async def test_a_broken_ingest_is_invisible_and_a_second_run_ends_it(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await backend.ingest(documents(THINGS[:1]))
    from slipway_server.retrieval.bm25 import Bm25Encoder

    real, batches = Bm25Encoder.passages, 0

    async def failing(self: Bm25Encoder, passages: Sequence[Passage]) -> Encoded:
        nonlocal batches
        batches += 1
        if batches == 3:
            raise EmbedderUnavailable("away")
        return await real(self, passages)

    monkeypatch.setattr(Bm25Encoder, "passages", failing)
    corpus = documents(THINGS, [f"{trade} {size}" for trade in TRADES for size in ("small", "large", "huge")])
    with pytest.raises(EmbedderUnavailable):
        await backend.ingest(corpus)
    assert (await backend.open()).collection_version == first.version
    monkeypatch.undo()
    summary = await backend.ingest(corpus)
    assert summary.passages == 300
    # A server has the two batches; embedded, the built-in encoders' vectors cost less than keeping them.
    assert summary.reused == (0 if backend.name == "edge" else 200)
    assert (await backend.open()).collection_version == summary.version


@pytest.mark.parametrize("name", ["../up", "", "a/b", "-x", "x" * 101, "é"])
async def test_a_name_that_is_no_name(backend: Any, name: str) -> None:
    backend.collection = name
    with pytest.raises(ConfigInvalid):
        await backend.ingest(documents(THINGS[:1]))
    backend.collection = "unused"


async def test_searches_in_threads_give_what_inline_ones_give(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"data_dir": tmp_path_factory.mktemp("data"), "collection": "docs"}, environ={})
    await run(settings, documents())
    asked = [f"{thing} of {trade}" for thing, trade in itertools.product(THINGS, TRADES)]
    monkeypatch.setattr(embedded, "INLINE_SECONDS", float("inf"))
    inline = await open_retriever(settings)
    monkeypatch.setattr(embedded, "INLINE_SECONDS", 0.0)
    threaded = await open_retriever(settings)
    expected = [(await inline.search([question], 3))[0][0] for question in asked]
    found = await asyncio.gather(*(threaded.search([question], 3) for question in asked))
    assert [passages[0][0] for passages in found] == expected
    await asyncio.gather(inline.aclose(), threaded.aclose())


async def test_edge_and_the_in_memory_client_rank_alike(tmp_path_factory: pytest.TempPathFactory) -> None:
    from qdrant_client import AsyncQdrantClient

    from slipway_server.retrieval.embedders import open_encoder
    from slipway_server.retrieval.qdrant import Connection, ServerConfig
    from slipway_server.retrieval.server import ServerRetriever
    from slipway_server.retrieval.server_target import ServerTarget

    asked = [f"{thing} of {trade}" for thing, trade in itertools.product(THINGS, TRADES)]
    for model in MODELS:
        values = {"data_dir": tmp_path_factory.mktemp("data"), "collection": "docs", "embedding_model": model}
        settings = load_settings(values, environ={})
        client = AsyncQdrantClient(":memory:")
        connection = Connection(ServerConfig(":memory:"), client)
        await run(settings, documents())
        await run(settings, documents(), target=ServerTarget(connection))
        edge = await open_retriever(settings)
        memory = await ServerRetriever.open(connection, "docs", open_encoder(settings))
        for left, right in zip(await edge.search(asked, 3), await memory.search(asked, 3), strict=True):
            assert left[0].id == right[0].id
            assert [p.score for p in left] == pytest.approx([p.score for p in right], rel=1e-3)
        await edge.aclose()
        await memory.aclose()
        await client.close()
