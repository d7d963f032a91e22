# SPDX-License-Identifier: Apache-2.0
"""The process's retriever, kept off the program so that saving or copying a program never touches it.

    binding.bind(await open_retriever(settings))    # once, by whoever runs the process
    [passages] = await binding.bound().search(["a question"], 3)    # in a program

Searching through it writes citations and the collection's version into the current request's account.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from slipway_server import request
from slipway_server.errors import CollectionMissing
from slipway_server.retrieval.types import Passage, Retriever
from slipway_server.telemetry.metrics import RETRIEVAL_DURATION


class RecordingRetriever:
    """A retriever that accounts for its searches: citations, version, duration. Each passage is cited once a request.

    RecordingRetriever(retriever) behaves as `retriever` does.
    """

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._duration = RETRIEVAL_DURATION.labels(getattr(retriever, "backend", "other"))

    @property
    def collection_version(self) -> str:
        """The retriever's."""
        return self._retriever.collection_version

    @property
    def embedder_name(self) -> str:
        """The retriever's."""
        return self._retriever.embedder_name

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """The retriever's answer, recorded."""
        started = time.perf_counter()
        found = await self._retriever.search(queries, k)
        self._duration.observe(time.perf_counter() - started)
        account = request.current().account
        account.collection_version = self._retriever.collection_version
        cited = {citation.passage_id for citation in account.citations}
        for passage in (passage for passages in found for passage in passages):
            if passage.id not in cited:
                cited.add(passage.id)
                account.citations.append(request.Citation(passage.id, passage.title, passage.score))
        return found

    async def aclose(self) -> None:
        """Close the retriever."""
        await self._retriever.aclose()


_bound: RecordingRetriever | None = None


def bind(retriever: Retriever | None) -> None:
    """Make `retriever` the process's; None takes it away. The one before it is not closed."""
    global _bound
    _bound = None if retriever is None else RecordingRetriever(retriever)


def bound() -> Retriever:
    """The process's retriever. Raises CollectionMissing where none is bound."""
    if _bound is None:
        raise CollectionMissing(
            "No collection is open in this process; bind(await open_retriever(settings)) before the program runs"
        )
    return _bound
