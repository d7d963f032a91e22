# SPDX-License-Identifier: Apache-2.0
"""The process's retriever, kept off the program so that saving or copying a program never touches it.

    binding.bind(await open_retriever(settings), k=3, owner=owner)    # once, by whoever runs the process
    [passages] = await binding.search(["a question"])                   # in a program
    [passages] = binding.search_from_thread(["a question"], k=5)        # in one without an event loop

Searching through it writes citations and the collection's version into the current request's account.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from slipway_server import request
from slipway_server.errors import CollectionMissing, SlipwayError
from slipway_server.retrieval.types import Passage, Retriever
from slipway_server.telemetry.metrics import RETRIEVAL_DURATION

log = logging.getLogger(__name__)


class RecordingRetriever:
    """A retriever that accounts for its searches: citations, version, duration. Each passage is cited once a request.

    RecordingRetriever(retriever) behaves as `retriever` does.
    """

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

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
        try:
            found = await self._retriever.search(queries, k)
        except SlipwayError as error:
            seconds = round(time.perf_counter() - started, 4)
            log.info("retrieval failed", extra={"reason": error.reason, "seconds": seconds})
            raise
        backend = getattr(self._retriever, "backend", "other")
        seconds = time.perf_counter() - started
        RETRIEVAL_DURATION.labels(backend).observe(seconds)
        account = request.current().account
        account.spent_seconds["retrieval"] += seconds
        if log.isEnabledFor(logging.DEBUG):
            facts = {"queries": len(queries), "passages": sum(map(len, found)), "seconds": round(seconds, 4)}
            log.debug("retrieval", extra={**facts, "collection_version": self._retriever.collection_version})
        account.collection_version = self._retriever.collection_version
        cited = {citation.passage_id for citation in account.citations}
        for passage in (passage for passages in found for passage in passages):
            if passage.id not in cited:
                cited.add(passage.id)
                citation = request.Citation(passage.id, passage.title, passage.score, passage.long_text)
                account.citations.append(citation)
        return found

    async def aclose(self) -> None:
        """Close the retriever."""
        await self._retriever.aclose()


Search = Coroutine[Any, Any, list[list[Passage]]]


class Crossing(Protocol):
    """The way to the event loop that the retriever lives on (lm.bridge.OwnerLoop is one)."""

    def run(self, coro: Search) -> list[list[Passage]]:
        """Run a search there, from a thread without a loop."""
        ...

    async def arun(self, coro: Search) -> list[list[Passage]]:
        """Run a search there, from any loop."""
        ...


DEFAULT_K = 3

_bound: RecordingRetriever | None = None
_k: int = DEFAULT_K
_owner: Crossing | None = None


def bind(retriever: Retriever | None, *, k: int = DEFAULT_K, owner: Crossing | None = None) -> None:
    """Make `retriever` the process's; None takes it away. The one before it is not closed.

    Args:
        retriever: Searched by every program of the process.
        k: Passages per query where a program does not say.
        owner: The way to the retriever's loop; without one, searches run where they are called.
    """
    global _bound, _k, _owner
    _bound = None if retriever is None else RecordingRetriever(retriever)
    _k, _owner = k, owner


def bound() -> Retriever:
    """The process's retriever. Raises CollectionMissing where none is bound."""
    if _bound is None:
        raise CollectionMissing(
            "no collection is open in this process; bind(await open_retriever(settings)) before the program runs"
        )
    return _bound


async def search(queries: Sequence[str], k: int | None = None) -> list[list[Passage]]:
    """The `k` best passages (None: the process's default) for each query. Raises as Retriever.search."""
    found = bound().search(queries, _k if k is None else k)
    return await (found if _owner is None else _owner.arun(found))


def search_from_thread(queries: Sequence[str], k: int | None = None) -> list[list[Passage]]:
    """As `search`, from a thread other than the retriever's loop."""
    if _owner is None:
        raise CollectionMissing(
            "searching from a thread needs bind(…, owner=…); call `await binding.search(…)` instead"
        )
    return _owner.run(search(queries, k))
