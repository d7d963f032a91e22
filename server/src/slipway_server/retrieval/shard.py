# SPDX-License-Identifier: Apache-2.0
"""One Qdrant Edge shard: create, fill, read, search. Everything here blocks its thread.

A shard's folder belongs to one process at a time. It has no write-ahead log: a shard is written once, then published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from slipway_server.retrieval.encoding import Encoded, Fusion
from slipway_server.retrieval.points import (
    DENSE,
    DENSE_SCORE,
    PAGE_POINTS,
    SPARSE,
    SPARSE_SCORE,
    Page,
    Point,
    page_of,
    passage_of,
    payload,
)
from slipway_server.retrieval.types import Passage

SEARCH_THREADS = 1
"""Of a shard's own pool: one segment needs no more."""
HNSW_EF = 128
"""Candidates that a graph search keeps; shards below Edge's indexing threshold are searched exactly."""

Shard = Any


def create(folder: Path, dimension: int, *, sparse: bool) -> Shard:
    """A new, empty shard in `folder`, for dense vectors (`dimension` > 0), sparse ones, or both.

    With both, dense vectors are compared with what the sparse ones found, which needs no graph.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = edge.HnswIndexConfig(m=0, ef_construct=0, full_scan_threshold=0) if sparse else None
    params = edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine, hnsw_config=graph)
    dense = {DENSE: params} if dimension else None
    terms = {SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)} if sparse else None
    config = edge.EdgeConfig(
        vectors=dense,
        sparse_vectors=terms,
        max_search_threads=SEARCH_THREADS,
        wal_enabled=False,
    )
    return edge.EdgeShard.create(str(folder), config)


def load(folder: Path) -> Shard:
    """Open the shard in `folder`."""
    return edge.EdgeShard.load(str(folder))


def unpack_snapshot(file: Path, folder: Path) -> None:
    """Unpack a Qdrant server's snapshot of a shard into `folder`."""
    edge.EdgeShard.unpack_snapshot(str(file), str(folder))


def count(shard: Shard) -> int:
    """Number of points."""
    return int(shard.count(edge.CountRequest(exact=True)))


def add(shard: Shard, points: Sequence[Point], encoded: Encoded) -> None:
    """Store points with their rows of `encoded`."""
    rows = [edge.Point(point, _vectors(encoded, row), payload(passage)) for row, (point, passage) in enumerate(points)]
    shard.update(edge.UpdateOperation.upsert_points(rows))


def finish(shard: Shard) -> None:
    """Index, write out and close."""
    shard.optimize()
    shard.flush()
    shard.close()


def read(shard: Shard, *, with_vectors: bool) -> Iterator[Page]:
    """Every point, in pages."""
    offset = None
    while True:
        request = edge.ScrollRequest(offset=offset, limit=PAGE_POINTS, with_payload=True, with_vector=with_vectors)
        records, offset = shard.scroll(request)
        yield page_of(records, with_vectors=with_vectors)
        if offset is None:
            return


def search(shard: Shard, encoded: Encoded, row: int, k: int, fusion: Fusion | None) -> list[Passage]:
    """The `k` best passages for one row of encoded queries; a query without terms finds none."""
    request = _request(encoded, row, k, fusion)
    if request is None:
        return []
    return [passage_of(str(point.id), point.payload, point.score) for point in shard.query(request)]


def _request(encoded: Encoded, row: int, k: int, fusion: Fusion | None) -> Any:
    vector, asked = encoded.asked(row)
    dense = None if vector is None else edge.Query.Nearest(vector, using=DENSE)
    sparse = None if asked is None else edge.Query.Nearest(edge.SparseVector(*asked), using=SPARSE)
    if dense is not None and asked is not None and fusion is not None:
        depth = max(fusion.depth, k)
        found = edge.Prefetch(limit=depth, query=sparse)
        return edge.QueryRequest(
            limit=k,
            with_payload=True,
            prefetches=[edge.Prefetch(limit=depth, query=dense, prefetches=[found]), found],
            query=_combined(fusion.scale(asked)),
        )
    query = dense if dense is not None else sparse
    if query is None:
        return None
    params = edge.SearchParams(hnsw_ef=HNSW_EF)
    return edge.QueryRequest(limit=k, with_payload=True, query=query, params=params)


def _combined(scale: float) -> Any:
    of = edge.Expression
    dense = of.Mult([of.Constant(scale), of.Variable(DENSE_SCORE)])
    return edge.Formula(of.Sum([of.Variable(SPARSE_SCORE), dense]))


def _vectors(encoded: Encoded, row: int) -> dict[str, Any]:
    vectors: dict[str, Any] = {}
    if encoded.dense is not None:
        vectors[DENSE] = encoded.dense[row].tolist()
    if encoded.sparse is not None:
        vectors[SPARSE] = edge.SparseVector(*encoded.sparse[row])
    return vectors
