# SPDX-License-Identifier: Apache-2.0
"""Points as every backend stores them: a passage under its content hash, with its vectors by name."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from slipway_server.retrieval.encoding import Encoded, Sparse
from slipway_server.retrieval.types import Passage

DENSE, SPARSE = "dense", "sparse"
"""Names of the vectors."""
DENSE_SCORE, SPARSE_SCORE = "$score[0]", "$score[1]"
"""Scores of a fused query's two prefetches, as Qdrant's formulas name them."""
PAGE_POINTS = 256
"""Points read at once."""

Point = tuple[str, Passage]
"""A passage and its point id."""


class Page(NamedTuple):
    """Some stored points; `vectors` has a row for each, or is None where they were not asked for."""

    points: list[Point]
    vectors: Encoded | None


def point_id(passage: Passage) -> str:
    """Content hash of title and text, as the UUID that Qdrant wants: the same content is the same point."""
    digest = hashlib.sha256(f"{passage.title}\0{passage.text}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16]))


def payload(passage: Passage) -> dict[str, str]:
    """What a point stores beside its vectors."""
    return {"id": passage.id, "title": passage.title, "text": passage.text}


def passage_of(point: str, stored: Mapping[str, Any] | None, score: float = 0.0) -> Passage:
    """The passage of a stored point."""
    stored = stored or {}
    return Passage(str(stored.get("id") or point), str(stored.get("title", "")), str(stored.get("text", "")), score)


def page_of(records: Sequence[Any], *, with_vectors: bool) -> Page:
    """A page of qdrant-client's or Edge's records, which have the same attributes."""
    points = [(str(record.id), passage_of(str(record.id), record.payload)) for record in records]
    return Page(points, _encoded([record.vector for record in records]) if with_vectors and records else None)


def _encoded(vectors: Sequence[Mapping[str, Any]]) -> Encoded:
    dense = sparse = None
    if DENSE in vectors[0]:
        dense = np.array([row[DENSE] for row in vectors], dtype=np.float32)
    if SPARSE in vectors[0]:
        sparse = [Sparse(list(row[SPARSE].indices), list(row[SPARSE].values)) for row in vectors]
    return Encoded(dense, sparse)
