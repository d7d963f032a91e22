# SPDX-License-Identifier: Apache-2.0
"""One Qdrant Edge shard: create, fill, read, search. Everything here blocks its thread.

A shard's folder belongs to one process at a time. It has no write-ahead log: a shard is written once, then published.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from slipway_server.retrieval.encoding import Encoded, Encoder, Fusion, Sparse
from slipway_server.retrieval.types import Passage
from slipway_server.retrieval.version import Version

DENSE, SPARSE = "dense", "sparse"
"""Names of the vectors, in every backend."""
VERSION_FILE = "slipway.json"
SEARCH_THREADS = 1
"""Of a shard's own pool: one segment needs no more."""
HNSW_EF = 128
"""Candidates that a graph search keeps; shards below Edge's indexing threshold are searched exactly."""
PAGE = 256

Shard = Any
Row = tuple[str, Passage, Any]
"""Point id, passage and Edge's vectors by name (None where they were not asked for)."""


def create(folder: Path, encoder: Encoder) -> Shard:
    """A new, empty shard in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    dense = {DENSE: edge.EdgeVectorParams(size=encoder.dimension, distance=edge.Distance.Cosine)}
    sparse = {SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)}
    config = edge.EdgeConfig(
        vectors=dense if encoder.dimension else None,
        sparse_vectors=sparse if encoder.sparse else None,
        max_search_threads=SEARCH_THREADS,
        wal_enabled=False,
    )
    return edge.EdgeShard.create(str(folder), config)


def load(folder: Path) -> Shard:
    """Open the shard in `folder`."""
    return edge.EdgeShard.load(str(folder))


def add(shard: Shard, points: Sequence[tuple[str, Passage]], encoded: Encoded) -> None:
    """Store points with their rows of `encoded`."""
    rows = [edge.Point(point, _vectors(encoded, row), payload(passage)) for row, (point, passage) in enumerate(points)]
    shard.update(edge.UpdateOperation.upsert_points(rows))


def finish(shard: Shard, folder: Path, version: Version) -> None:
    """Index, write out, close, and leave the version's facts in the folder."""
    shard.optimize()
    shard.flush()
    shard.close()
    (folder / VERSION_FILE).write_text(json.dumps(version.as_json()))


def read(shard: Shard, *, with_vectors: bool) -> Iterator[list[tuple[str, Passage, Encoded | None]]]:
    """Every point, in pages; vectors as one-row batches."""
    offset = None
    while True:
        request = edge.ScrollRequest(offset=offset, limit=PAGE, with_payload=True, with_vector=with_vectors)
        records, offset = shard.scroll(request)
        yield [
            (str(record.id), passage_of(str(record.id), record.payload), _encoded(record.vector)) for record in records
        ]
        if offset is None:
            return


def search(shard: Shard, encoded: Encoded, row: int, k: int, fusion: Fusion | None) -> list[Passage]:
    """The `k` best passages for one row of encoded queries; a query without terms finds none."""
    request = _request(encoded, row, k, fusion)
    if request is None:
        return []
    return [passage_of(str(point.id), point.payload, point.score) for point in shard.query(request)]


def payload(passage: Passage) -> dict[str, str]:
    """What a point stores beside its vectors, in every backend."""
    return {"id": passage.id, "title": passage.title, "text": passage.text}


def passage_of(point: str, stored: dict[str, Any] | None, score: float = 0.0) -> Passage:
    """The passage of a stored point."""
    stored = stored or {}
    return Passage(
        str(stored.get("id") or point), str(stored.get("title") or ""), str(stored.get("text") or ""), float(score)
    )


def _request(encoded: Encoded, row: int, k: int, fusion: Fusion | None) -> Any:
    params = edge.SearchParams(hnsw_ef=HNSW_EF)
    dense = sparse = None
    if encoded.dense is not None and encoded.dense[row].any():
        dense = edge.Query.Nearest(encoded.dense[row].tolist(), using=DENSE)
    if encoded.sparse is not None and encoded.sparse[row].indices:
        sparse = edge.Query.Nearest(edge.SparseVector(*encoded.sparse[row]), using=SPARSE)
    if dense is not None and sparse is not None and fusion is not None:
        depth = max(fusion.depth, k)
        return edge.QueryRequest(
            limit=k,
            with_payload=True,
            prefetches=[
                edge.Prefetch(limit=depth, query=dense, params=params),
                edge.Prefetch(limit=depth, query=sparse),
            ],
            query=_rrf(fusion),
        )
    query = dense if dense is not None else sparse
    if query is None:
        return None
    return edge.QueryRequest(limit=k, with_payload=True, query=query, params=params)


def _rrf(fusion: Fusion) -> Any:
    return edge.Fusion.Rrf(k=fusion.k, weights=[fusion.dense_weight, fusion.sparse_weight])


def _vectors(encoded: Encoded, row: int) -> dict[str, Any]:
    vectors: dict[str, Any] = {}
    if encoded.dense is not None:
        vectors[DENSE] = encoded.dense[row].tolist()
    if encoded.sparse is not None:
        vectors[SPARSE] = edge.SparseVector(*encoded.sparse[row])
    return vectors


def _encoded(vectors: Any) -> Encoded | None:
    if not vectors:
        return None
    dense, sparse = vectors.get(DENSE), vectors.get(SPARSE)
    return Encoded(
        dense=None if dense is None else np.asarray([dense], dtype=np.float32),
        sparse=None if sparse is None else [Sparse(list(sparse.indices), list(sparse.values))],
    )
