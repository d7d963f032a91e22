# SPDX-License-Identifier: Apache-2.0
"""A server's collection published as an embedded one: from its shard snapshot, or point by point."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from qdrant_client import AsyncQdrantClient

from slipway_server.errors import CollectionMismatch, CollectionMissing, DataCorrupt
from slipway_server.retrieval import archive, open_retriever
from slipway_server.retrieval.corpus import Document
from slipway_server.retrieval.qdrant import Connection, ServerConfig
from slipway_server.retrieval.scratch import Scratch
from slipway_server.retrieval.snapshot import publish_from_server

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")
DOCUMENTS = [Document(word, f"Box {word}", f"The box {word} holds {word} apples. " * 5) for word in NUMBERS]


class Server:
    """The REST side of a server: its shard snapshot, or 404. The rest is qdrant-client's in-memory mode."""

    def __init__(self) -> None:
        self.snapshot = b""
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""

    async def answer(self, asked: web.Request) -> web.Response:
        self.asked.append((asked.path, asked.headers.get("api-key")))
        return web.Response(body=self.snapshot) if self.snapshot else web.Response(status=404)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    client = AsyncQdrantClient(":memory:")
    yield Connection(ServerConfig(":memory:"), client)
    await client.close()


def snapshot_of(data_dir: Path, collection: str, folder: Path) -> bytes:
    """A shard snapshot as a server makes it: a plain tar file of the shard's folder."""
    published = archive.current(data_dir, collection)
    assert published is not None
    with Scratch(folder) as scratch:
        archive.unpack(data_dir, published, scratch / "shard")
        (scratch / "shard" / "edge_config.json").unlink()
        with tarfile.open(scratch / "snapshot", "w") as tar:
            tar.add(scratch / "shard", arcname=".")
        return (scratch / "snapshot").read_bytes()


@pytest.mark.parametrize("snapshot", [True, False])
@pytest.mark.parametrize("model", ["offline/bm25", "offline/fused"])
async def test_the_embedded_version_answers_as_the_server_does(
    server: Server, connection: Connection, tmp_path: Path, snapshot: bool, model: str
) -> None:
    made = await _ingested(connection, tmp_path, model)
    if snapshot:
        server.snapshot = await asyncio.to_thread(snapshot_of, tmp_path / "local", "boxes", tmp_path)
    settings = _settings(tmp_path / "data", server.url, model)
    summary = await publish_from_server(settings, connection)
    assert (summary.version, summary.passages, summary.changed) == (made, len(NUMBERS), True)
    assert server.asked == [(f"/collections/{made}/shards/0/snapshot", "secret")]
    retriever = await open_retriever(_settings(tmp_path / "data", None, model))
    found = await retriever.search([f"apples of box {word}" for word in NUMBERS], 1)
    assert [passages[0].id for passages in found] == list(NUMBERS)
    await retriever.aclose()
    assert not (await publish_from_server(settings, connection)).changed


async def test_a_snapshot_of_something_else_is_refused(server: Server, connection: Connection, tmp_path: Path) -> None:
    await _ingested(connection, tmp_path, "offline/bm25")
    settings = _settings(tmp_path / "data", server.url, "offline/bm25")
    server.snapshot = b"not a snapshot"
    with pytest.raises(DataCorrupt, match="does not open"):
        await publish_from_server(settings, connection)
    await _run_local(tmp_path, "offline/bm25", DOCUMENTS[:3])
    server.snapshot = await asyncio.to_thread(snapshot_of, tmp_path / "local", "boxes", tmp_path)
    with pytest.raises(DataCorrupt, match="has 3 points instead of 7"):
        await publish_from_server(settings, connection)
    assert await asyncio.to_thread(archive.current, tmp_path / "data", "boxes") is None


async def test_a_collection_that_has_lost_points_is_not_published(
    server: Server, connection: Connection, tmp_path: Path
) -> None:
    made = await _ingested(connection, tmp_path, "offline/bm25")
    for left in (len(NUMBERS) - 1, 0):
        records, _ = await connection._client.scroll(made, limit=len(NUMBERS))
        await connection._client.delete(made, points_selector=[record.id for record in records[: len(records) - left]])
        with pytest.raises(DataCorrupt, match=f"has {left} points instead of {len(NUMBERS)}"):
            await publish_from_server(_settings(tmp_path / "data", server.url, "offline/bm25"), connection)
    assert await asyncio.to_thread(archive.current, tmp_path / "data", "boxes") is None


async def test_a_collection_that_is_not_there_or_not_ours(
    server: Server, connection: Connection, tmp_path: Path
) -> None:
    settings = _settings(tmp_path / "data", server.url, "offline/bm25")
    with pytest.raises(CollectionMissing):
        await publish_from_server(settings, connection)
    await connection._client.create_collection("boxes", vectors_config={})
    with pytest.raises(CollectionMismatch, match="was not made by `slipway ingest`"):
        await publish_from_server(settings, connection)


def _settings(data_dir: Path, url: str | None, model: str) -> Any:
    from slipway_server.config import load_settings

    values = {"data_dir": data_dir, "collection": "boxes", "embedding_model": model}
    return load_settings(values | {"qdrant_url": url, "qdrant_api_key": "secret"}, environ={})


async def _run_local(folder: Path, model: str, documents: list[Document]) -> str:
    from slipway_server.retrieval.ingest import run

    return (await run(_settings(folder / "local", None, model), documents)).version


async def _ingested(connection: Connection, folder: Path, model: str) -> str:
    """The documents in the in-memory server and, as the source of a snapshot, embedded."""
    from slipway_server.retrieval.ingest import run
    from slipway_server.retrieval.server_target import ServerTarget

    summary = await run(_settings(folder / "unused", None, model), DOCUMENTS, target=ServerTarget(connection))
    assert await _run_local(folder, model, DOCUMENTS) == summary.version
    return summary.version
