# SPDX-License-Identifier: Apache-2.0
"""From documents to a new version of a collection.

    summary = await run(settings, read(Path("docs.jsonl")))

A version is named by its content, so that the same corpus and embedder give the same version, and a second run finds
nothing to do. Dense vectors of the version before are used again. A run that was killed goes on where it stopped: on a
server with the points that are there, embedded with the endpoint's vectors that it has paid for.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from slipway_server.cache.protocol import EntryStore
from slipway_server.config import Settings
from slipway_server.errors import CollectionMissing, CorpusInvalid, DataCorrupt
from slipway_server.retrieval.chunking import Chunking, split
from slipway_server.retrieval.corpus import Document
from slipway_server.retrieval.embedders import open_encoder
from slipway_server.retrieval.encoding import Encoder
from slipway_server.retrieval.points import point_id
from slipway_server.retrieval.staging import Staging
from slipway_server.retrieval.target import Target, open_target
from slipway_server.retrieval.types import Passage
from slipway_server.retrieval.version import Version, check_name, reader, version_of

BATCH = 100
"""Passages per embedding request and per upsert."""

Progress = Callable[[int, int], None]
"""Called with passages done and passages in all."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What an ingest did.

    `dropped`: chunks not longer than the minimum; `documents_dropped`: documents that left no passage for that reason;
    `duplicates`: passages whose title and text had come before; `changed`: false where there was nothing to do.
    """

    collection: str
    version: str
    embedder: str
    dimension: int
    passages: int
    changed: bool
    seconds: float
    documents: int = 0
    dropped: int = 0
    documents_dropped: int = 0
    duplicates: int = 0
    embedded: int = 0
    reused: int = 0

    @classmethod
    def of(cls, version: Version, **facts: Any) -> Summary:
        """About `version`; `facts` are the fields that it does not have."""
        return cls(version.collection, version.name, version.embedder, version.dimension, version.passages, **facts)

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


@dataclass(slots=True)
class _Cut:
    """A corpus as passages by point id, with what was left out."""

    passages: dict[str, Passage] = field(default_factory=dict)
    documents: int = 0
    dropped: int = 0
    documents_dropped: int = 0
    duplicates: int = 0


async def run(
    settings: Settings,
    documents: Iterable[Document],
    *,
    collection: str | None = None,
    append: bool = False,
    chunking: Chunking | None = None,
    store: EntryStore | None = None,
    progress: Progress | None = None,
    target: Target | None = None,
) -> Summary:
    """Make a version of `collection` (default: the configured one) from `documents` and switch to it.

    `append` keeps what the collection has. `store` remembers an endpoint's vectors by text; without one, a folder in
    the data directory does until the version is published. `target` replaces the configured backend.

    Raises CorpusInvalid, CollectionMissing (`append` to nothing), CollectionMismatch (`append` with another embedder),
    DataCorrupt, ConfigInvalid, ProviderAuth, EmbedderUnavailable, EmbedderRateLimited, RetrievalUnavailable.
    """
    started = time.monotonic()
    name = check_name(collection or settings.collection)
    staging = Staging(settings.data_dir / "staging" / name) if store is None else None
    encoder = open_encoder(settings, store or staging)
    try:
        target = target or await open_target(settings)
        cut = await asyncio.to_thread(_cut, documents, chunking or Chunking())
        before = await _before(target, name, append)
        if append and before is not None:
            encoder = reader(before, encoder)
            stored: dict[str, Passage] = {}
            async for page in target.stored(before, with_vectors=False):
                stored.update(page.points)
            cut.passages = stored | cut.passages
        version = version_of(name, encoder, cut.passages.items())
        changed = before is None or before.digest != version.digest
        embedded = reused = 0
        if changed:
            embedded, reused = await _build(target, encoder, version, before, cut.passages, progress)
        if staging is not None:
            await asyncio.to_thread(staging.clear)
    finally:
        if target is not None:
            await target.aclose()
        await encoder.aclose()
    return Summary.of(
        version,
        changed=changed,
        seconds=time.monotonic() - started,
        documents=cut.documents,
        dropped=cut.dropped,
        documents_dropped=cut.documents_dropped,
        duplicates=cut.duplicates,
        embedded=embedded,
        reused=reused,
    )


async def _before(target: Target, collection: str, append: bool) -> Version | None:
    """The published version as far as it is of use: None where there is none, or it is damaged."""
    try:
        before = await target.current(collection)
        if before is not None and not await target.intact(before):
            raise DataCorrupt(f"Collection {before.name} is damaged; ingest the whole corpus without --append")
    except DataCorrupt:
        if append:
            raise
        return None
    if append and before is None:
        raise CollectionMissing(f"Collection {collection} does not exist yet; ingest without --append first")
    return before


async def _build(
    target: Target,
    encoder: Encoder,
    version: Version,
    before: Version | None,
    passages: dict[str, Passage],
    progress: Progress | None,
) -> tuple[int, int]:
    """Fill and publish `version`; how many passages were embedded and how many vectors used again."""
    done = await target.begin(version, sparse=encoder.sparse) & passages.keys()
    reused = len(done)
    encoder = await asyncio.to_thread(encoder.fitted, list(passages.values()))
    alike = before is not None and (before.embedder, before.dimension) == (version.embedder, version.dimension)
    if before is not None and alike and encoder.independent:
        async for page in target.stored(before, with_vectors=True):
            rows = [row for row, (point, _) in enumerate(page.points) if point in passages and point not in done]
            if rows and page.vectors is not None:
                again = [page.points[row][0] for row in rows]
                await target.add([(point, passages[point]) for point in again], page.vectors.take(rows))
                done.update(again)
        reused = len(done)
    missing = ((point, passage) for point, passage in passages.items() if point not in done)
    for batch in iter(lambda: list(itertools.islice(missing, BATCH)), []):
        _report(progress, len(done), len(passages))
        await target.add(batch, await encoder.passages([passage for _, passage in batch]))
        done.update(point for point, _ in batch)
    _report(progress, len(done), len(passages))
    await target.publish()
    return len(passages) - reused, reused


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _cut(documents: Iterable[Document], chunking: Chunking) -> _Cut:
    cut = _Cut()
    for document in documents:
        cut.documents += 1
        chunks = split(document.text, chunking)
        kept = [chunk for chunk in chunks if len(chunk) > chunking.min_chars]
        cut.dropped += len(chunks) - len(kept)
        cut.documents_dropped += not kept
        for number, chunk in enumerate(kept):
            identity = document.id if len(kept) == 1 or not document.id else f"{document.id}#{number}"
            passage = Passage(identity, document.title, chunk)
            point = point_id(passage)
            if point in cut.passages:
                cut.duplicates += 1
            else:
                cut.passages[point] = passage if identity else Passage(point, document.title, chunk)
    if not cut.passages:
        raise CorpusInvalid(
            f"No passage is left of {cut.documents} documents: every chunk has {chunking.min_chars} characters or fewer"
        )
    return cut
