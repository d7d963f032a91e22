# SPDX-License-Identifier: Apache-2.0
"""Programs search through the process's retriever, and the request's account knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from slipway_server import request
from slipway_server.errors import CollectionMissing
from slipway_server.request import RequestContext
from slipway_server.retrieval import binding
from slipway_server.retrieval.types import Passage
from slipway_server.telemetry import metrics


class Shelf:
    """Answers with k numbered passages per query."""

    backend = "embedded"
    collection_version = "docs-00000001"
    embedder_name = "offline/bm25"
    closed = False

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [[Passage(f"{query}{n}", f"T{n}", "text", 1.0 / (n + 1)) for n in range(k)] for query in queries]

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def unbound() -> Iterator[None]:
    yield
    binding.bind(None)


def searches() -> float:
    name, labels = "slipway_retrieval_duration_seconds_count", {"backend": "embedded"}
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


async def test_nothing_bound_says_what_to_do() -> None:
    with pytest.raises(CollectionMissing, match="open_retriever"):
        binding.bound()
    with pytest.raises(CollectionMissing, match="open_retriever"):
        await binding.search(["q"])


async def test_citations_version_and_duration_are_recorded_once_per_passage() -> None:
    binding.bind(Shelf())
    before = searches()
    with request.opened(RequestContext()) as context:
        await binding.bound().search(["a", "b"], 2)
        await binding.search(["a"], 3)
    assert [citation.passage_id for citation in context.account.citations] == ["a0", "a1", "b0", "b1", "a2"]
    second = context.account.citations[1]
    assert (second.passage_id, second.title, second.score) == ("a1", "T1", 0.5)
    assert context.account.collection_version == "docs-00000001"
    assert searches() == before + 2


async def test_requests_at_the_same_time_keep_their_own_citations() -> None:
    binding.bind(Shelf(), k=1)

    async def one(name: str) -> list[str]:
        with request.opened(RequestContext()) as context:
            await binding.search([name])
            await asyncio.sleep(0)
            await binding.search([name.upper()])
        return [citation.passage_id for citation in context.account.citations]

    assert await asyncio.gather(one("a"), one("b")) == [["a0", "A0"], ["b0", "B0"]]


async def test_it_behaves_as_the_retriever_does() -> None:
    shelf = Shelf()
    binding.bind(shelf)
    bound = binding.bound()
    assert (bound.collection_version, bound.embedder_name) == (shelf.collection_version, shelf.embedder_name)
    assert await bound.search(["q"], 1) == await shelf.search(["q"], 1)
    await bound.aclose()
    assert shelf.closed
