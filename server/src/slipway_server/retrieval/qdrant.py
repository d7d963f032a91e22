# SPDX-License-Identifier: Apache-2.0
"""One connection to a Qdrant server, with its answers as our types and its failures as our errors."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from slipway_server.config import Settings
from slipway_server.errors import CollectionMismatch, CollectionMissing, ConfigInvalid, RetrievalUnavailable
from slipway_server.retrieval.channel import channel_options
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
from slipway_server.retrieval.version import Version

FACTS = "slipway"
"""Key of the collection's metadata that holds our facts."""
SERVER = "the Qdrant server (SLIPWAY_QDRANT_URL)"
"""In messages, which callers may see: the key, not the address."""
_REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the server is. `grpc_port`: of the same host."""

    url: str
    api_key: SecretStr | None = None
    grpc_port: int = 6334
    timeout_seconds: float = 10.0

    @classmethod
    def from_settings(cls, settings: Settings) -> ServerConfig:
        """The server that SLIPWAY_QDRANT_URL names."""
        if settings.qdrant_url is None:
            raise ConfigInvalid("SLIPWAY_QDRANT_URL is not set", key="SLIPWAY_QDRANT_URL")
        return cls(settings.qdrant_url.rstrip("/"), settings.qdrant_api_key, settings.qdrant_grpc_port)


@dataclass(frozen=True, slots=True)
class Stored:
    """One of our collections on the server. `since`: when it came to be, or was published; seconds since the epoch."""

    version: Version
    published: bool
    since: float


class Connection:
    """A client of qdrant-client's, which speaks gRPC; one that was not made by `open` is its owner's to close.

    connection = await Connection.open(ServerConfig.from_settings(settings))

    Every method raises RetrievalUnavailable, ConfigInvalid (wrong key or URL), CollectionMissing.
    """

    def __init__(self, config: ServerConfig, client: AsyncQdrantClient, *, owned: bool = False) -> None:
        self._timeout = config.timeout_seconds
        self._client, self._owned = client, owned

    @classmethod
    async def open(cls, config: ServerConfig) -> Connection:
        """A connection of its own; the first call connects. Raises ConfigInvalid where the URL is none."""
        # In a thread: the client's constructor reads files.
        return cls(config, await asyncio.to_thread(_client, config), owned=True)

    async def aclose(self) -> None:
        """Close the client, where it is ours."""
        if self._owned:
            await self._client.close()

    async def current(self, collection: str) -> Version | None:
        """The version that the alias `collection` names; None where there is none. Raises CollectionMismatch."""
        async with self._translated(collection):
            aliases = (await self._client.get_aliases()).aliases
            named = next((alias.collection_name for alias in aliases if alias.alias_name == collection), collection)
            if not await self._client.collection_exists(named):
                return None
            stored = await self._facts(named)
        if stored is None:
            raise CollectionMismatch(
                f"Collection {named} at {SERVER} was not made by `slipway ingest`; name another one",
                collection=named,
            )
        return stored.version

    async def intact(self, version: Version) -> bool:
        """Whether the collection has as many points as it should have."""
        async with self._translated(version.name):
            count = (await self._client.count(version.name, exact=True)).count
        return int(count) == version.passages

    async def search(self, version: Version, encoded: Encoded, k: int, fusion: Fusion | None) -> list[list[Passage]]:
        """The `k` best passages per row; a row without terms finds none."""
        asked = [(row, _request(encoded, row, k, fusion)) for row in range(len(encoded))]
        requests = [wanted for _, wanted in asked if wanted is not None]
        found: list[list[Passage]] = [[] for _ in asked]
        if not requests:
            return found
        async with self._translated(version.name):
            answers = await self._client.query_batch_points(version.name, requests=requests)
        rows = [row for row, wanted in asked if wanted is not None]
        for row, answer in zip(rows, answers, strict=True):
            found[row] = [passage_of(str(point.id), point.payload, point.score) for point in answer.points]
        return found

    async def read(self, name: str, *, with_vectors: bool) -> AsyncIterator[Page]:
        """Every point of a collection, in pages."""
        offset: Any = None
        while True:
            async with self._translated(name):
                records, offset = await self._client.scroll(
                    name, limit=PAGE_POINTS, offset=offset, with_payload=True, with_vectors=with_vectors
                )
            yield page_of(records, with_vectors=with_vectors)
            if offset is None:
                return

    async def create(self, version: Version, *, sparse: bool) -> None:
        """Make the version's empty collection, where it does not exist."""
        async with self._translated(version.name):
            if await self._client.collection_exists(version.name):
                return
            # With both, dense vectors are compared with what the sparse ones found, which needs no graph.
            graph = models.HnswConfigDiff(m=0) if sparse else None
            params = models.VectorParams(size=version.dimension, distance=models.Distance.COSINE, hnsw_config=graph)
            dense = {DENSE: params}
            await self._client.create_collection(
                version.name,
                vectors_config=dense if version.dimension else {},
                sparse_vectors_config=(
                    {SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)} if sparse else None
                ),
                metadata=_metadata(version, published=False),
            )

    async def upsert(self, version: Version, points: Sequence[Point], encoded: Encoded) -> None:
        """Store points with their rows of `encoded`, and wait until they are there."""
        rows = [
            models.PointStruct(id=point, vector=_vectors(encoded, row), payload=payload(passage))
            for row, (point, passage) in enumerate(points)
        ]
        async with self._translated(version.name):
            await self._client.upsert(version.name, points=rows, wait=True)

    async def switch(self, version: Version) -> None:
        """Mark the version as whole and make the alias name it, in one step."""
        async with self._translated(version.collection):
            await self._client.update_collection(version.name, metadata=_metadata(version, published=True))
            alias = version.collection
            drop = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
            make = models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=version.name, alias_name=alias)
            )
            known = {described.alias_name for described in (await self._client.get_aliases()).aliases}
            await self._client.update_collection_aliases([drop, make] if alias in known else [make])

    async def versions(self, collection: str) -> list[Stored]:
        """Every version of the collection that is on the server, whole or not."""
        async with self._translated(collection):
            names = [described.name for described in (await self._client.get_collections()).collections]
            found = [await self._facts(name) for name in names if name.startswith(f"{collection}-")]
        return [stored for stored in found if stored is not None and stored.version.collection == collection]

    async def delete(self, version: Version) -> None:
        """Remove a version's collection."""
        async with self._translated(version.name):
            await self._client.delete_collection(version.name)

    async def shards(self, version: Version) -> int:
        """How many shards the version's collection has."""
        async with self._translated(version.name):
            return (await self._client.get_collection(version.name)).config.params.shard_number or 1

    async def _facts(self, name: str) -> Stored | None:
        metadata = (await self._client.get_collection(name)).config.metadata or {}
        try:
            facts = metadata[FACTS]
            return Stored(Version.from_json(facts), bool(facts["published"]), float(facts["since"]))
        except (KeyError, TypeError, ValueError):
            return None

    @asynccontextmanager
    async def _translated(self, name: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise RetrievalUnavailable(f"{SERVER} does not answer within {self._timeout:g} s") from None
        except (grpc.aio.AioRpcError, QdrantException, ApiException, httpx.HTTPError, OSError, ValueError) as error:
            if _is_missing(error):
                raise CollectionMissing(f"Collection {name} is not at {SERVER}", collection=name) from error
            if _is_refused(error):
                raise ConfigInvalid(
                    f"{SERVER} refuses the key; check SLIPWAY_QDRANT_API_KEY", key="SLIPWAY_QDRANT_API_KEY"
                ) from error
            raise RetrievalUnavailable(f"{SERVER} does not answer ({_kind(error)})") from error


def _client(config: ServerConfig) -> AsyncQdrantClient:
    try:
        address = urlsplit(config.url)
        if address.scheme not in ("http", "https") or not address.hostname or address.port == 0:
            raise ValueError("address")
    except ValueError:
        raise ConfigInvalid(f"SLIPWAY_QDRANT_URL: {config.url[:80]} is not a URL", key="SLIPWAY_QDRANT_URL") from None
    return AsyncQdrantClient(
        url=config.url,
        grpc_port=config.grpc_port,
        prefer_grpc=True,
        api_key=config.api_key.get_secret_value() if config.api_key is not None else None,
        timeout=math.ceil(config.timeout_seconds),
        grpc_options=channel_options(),
        # Off: it starts a thread that asks for the server's version.
        check_compatibility=False,
    )


def _metadata(version: Version, *, published: bool) -> dict[str, Any]:
    return {FACTS: version.as_json() | {"published": published, "since": time.time()}}


def _request(encoded: Encoded, row: int, k: int, fusion: Fusion | None) -> models.QueryRequest | None:
    dense, asked = encoded.asked(row)
    sparse = None if asked is None else models.SparseVector(indices=asked.indices, values=asked.values)
    if dense is not None and asked is not None and fusion is not None:
        depth = max(fusion.depth, k)
        found = models.Prefetch(query=sparse, using=SPARSE, limit=depth)
        return models.QueryRequest(
            prefetch=[models.Prefetch(query=dense, using=DENSE, limit=depth, prefetch=found), found],
            query=_combined(fusion.scale(asked)),
            limit=k,
            with_payload=True,
        )
    if dense is not None:
        return models.QueryRequest(query=dense, using=DENSE, limit=k, with_payload=True)
    if sparse is not None:
        return models.QueryRequest(query=sparse, using=SPARSE, limit=k, with_payload=True)
    return None


def _combined(scale: float) -> models.FormulaQuery:
    dense = models.MultExpression(mult=[scale, DENSE_SCORE])
    return models.FormulaQuery(formula=models.SumExpression(sum=[SPARSE_SCORE, dense]))


def _vectors(encoded: Encoded, row: int) -> Any:
    vectors: dict[str, Any] = {}
    if encoded.dense is not None:
        vectors[DENSE] = encoded.dense[row].tolist()
    if encoded.sparse is not None:
        indices, values = encoded.sparse[row]
        vectors[SPARSE] = models.SparseVector(indices=indices, values=values)
    return vectors


def _is_missing(error: Exception) -> bool:
    if isinstance(error, grpc.aio.AioRpcError):
        return bool(error.code() == grpc.StatusCode.NOT_FOUND)
    if isinstance(error, UnexpectedResponse):
        return error.status_code == 404
    # The in-memory mode says it with a ValueError.
    return isinstance(error, ValueError) and "not found" in str(error)


def _is_refused(error: Exception) -> bool:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in _REFUSED
    return isinstance(error, UnexpectedResponse) and error.status_code in (401, 403)


def _kind(error: Exception) -> str:
    if isinstance(error, ResourceExhaustedResponse):
        # What the client makes of this status where the server says how long to wait.
        return grpc.StatusCode.RESOURCE_EXHAUSTED.name
    return str(error.code().name) if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
