# SPDX-License-Identifier: Apache-2.0
"""A version of a collection: immutable, named by the digest of what is in it and of what it was made with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from slipway_server.errors import CollectionMismatch, ConfigInvalid
from slipway_server.retrieval.encoding import Encoder
from slipway_server.retrieval.points import Point

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Version:
    """Facts that are stored with a collection's points. `dimension` is 0 without dense vectors."""

    collection: str
    digest: str
    embedder: str
    dimension: int
    passages: int

    @cached_property
    def name(self) -> str:
        """Collection and short digest, e.g. `docs-1a2b3c4d`."""
        return f"{self.collection}-{self.digest[:8]}"

    def as_json(self) -> dict[str, Any]:
        """JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Version:
        """Raises KeyError, TypeError or ValueError where `value` is no version."""
        return cls(
            collection=str(value["collection"]),
            digest=str(value["digest"]),
            embedder=str(value["embedder"]),
            dimension=int(value["dimension"]),
            passages=int(value["passages"]),
        )


def version_of(collection: str, encoder: Encoder, passages: Iterable[Point]) -> Version:
    """The version that holds these passages, given with their point ids; their order does not matter."""
    rows = sorted(f"{point}\0{passage.id}" for point, passage in passages)
    head = f"slipway collection 1\n{encoder.name}\n{encoder.dimension}\n"
    digest = hashlib.sha256((head + "\n".join(rows)).encode()).hexdigest()
    return Version(collection, digest, encoder.name, encoder.dimension, len(rows))


def check_name(collection: str) -> str:
    """`collection`, or ConfigInvalid where it cannot name a file and a Qdrant collection."""
    if not _NAME.fullmatch(collection):
        raise ConfigInvalid(
            f"Collection name {collection[:40]!r}: use letters, digits, '.', '_' and '-', at most 100 characters",
            key="SLIPWAY_COLLECTION",
        )
    return collection


def reader(version: Version, encoder: Encoder) -> Encoder:
    """What searches `version` where `encoder` is configured. Raises CollectionMismatch where that cannot read it."""
    found = encoder.reading(version.embedder, version.dimension)
    if found is not None:
        return found
    raise CollectionMismatch(
        f"Collection {version.name} was made with {_shown(version.embedder, version.dimension)}, configured is "
        f"{_shown(encoder.name, encoder.dimension)}; set SLIPWAY_EMBEDDING_MODEL and SLIPWAY_EMBEDDING_DIMENSION to "
        "the former, or ingest again",
        collection=version.name,
        made_with=version.embedder,
        configured=encoder.name,
    )


def _shown(name: str, dimension: int) -> str:
    return f"{name} ({dimension} dimensions)" if dimension else name
