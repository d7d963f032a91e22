# SPDX-License-Identifier: Apache-2.0
"""The backends that one contract suite runs over."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient

from slipway_server.config import TEST_QDRANT_KEY, Settings, load_settings
from slipway_server.retrieval import open_retriever
from slipway_server.retrieval.corpus import Document
from slipway_server.retrieval.embedders import open_encoder
from slipway_server.retrieval.ingest import Summary, run
from slipway_server.retrieval.qdrant import Connection, ServerConfig
from slipway_server.retrieval.server import ServerRetriever
from slipway_server.retrieval.server_target import ServerTarget
from slipway_server.retrieval.types import Retriever

BACKENDS = ("edge", "memory", "server")


class Backend:
    """Ingests into, and opens, one collection of its own. Here: Qdrant Edge; retrievers are closed at the end."""

    name = "edge"

    def __init__(self, folder: Path) -> None:
        self.collection = f"test-{uuid.uuid4().hex[:12]}"
        self._folder = folder
        self._opened: list[Retriever] = []

    def settings(self, **overrides: Any) -> Settings:
        values = {"data_dir": self._folder / "data", "scratch_dir": self._folder / "scratch"}
        return load_settings(values | {"collection": self.collection} | overrides, environ={})

    async def ingest(self, documents: Iterable[Document], *, append: bool = False, **overrides: Any) -> Summary:
        return await run(self.settings(**overrides), documents, append=append)

    async def open(self, **overrides: Any) -> Retriever:
        self._opened.append(await open_retriever(self.settings(**overrides)))
        return self._opened[-1]

    async def stored_versions(self) -> set[str]:
        folder = self._folder / "data" / "collections" / self.collection
        return {path.name.removesuffix(".tar.gz") for path in folder.glob("*.tar.gz")}

    async def aclose(self) -> None:
        for retriever in self._opened:
            await retriever.aclose()


class ServerBackend(Backend):
    """A Qdrant server, or qdrant-client's in-memory mode."""

    name = "server"

    def __init__(self, folder: Path, config: ServerConfig, client: AsyncQdrantClient | None = None) -> None:
        super().__init__(folder)
        self._config, self._client = config, client

    async def connection(self) -> Connection:
        return Connection(self._config, self._client) if self._client else await Connection.open(self._config)

    async def ingest(self, documents: Iterable[Document], *, append: bool = False, **overrides: Any) -> Summary:
        target = ServerTarget(await self.connection())
        return await run(self.settings(**overrides), documents, append=append, target=target)

    async def open(self, **overrides: Any) -> Retriever:
        encoder = open_encoder(self.settings(**overrides))
        self._opened.append(await ServerRetriever.open(await self.connection(), self.collection, encoder))
        return self._opened[-1]

    async def stored_versions(self) -> set[str]:
        connection = await self.connection()
        found = {stored.version.name for stored in await connection.versions(self.collection)}
        await connection.aclose()
        return found

    async def aclose(self) -> None:
        await super().aclose()
        connection = await self.connection()
        for stored in await connection.versions(self.collection):
            await connection.delete(stored.version)
        await connection.aclose()


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """Each backend in turn; the server only where SLIPWAY_TEST_QDRANT_URL names one."""
    url = os.environ.get(TEST_QDRANT_KEY)
    client = None
    made: Backend
    if request.param == "edge":
        made = Backend(tmp_path)
    elif request.param == "memory":
        client = AsyncQdrantClient(":memory:")
        made = ServerBackend(tmp_path, ServerConfig(":memory:"), client)
    elif url is None:
        pytest.skip(f"{TEST_QDRANT_KEY} names no server")
    else:
        made = ServerBackend(tmp_path, ServerConfig(url))
    yield made
    await made.aclose()
    if client is not None:
        await client.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which backends the contract ran over."""
    url = os.environ.get(TEST_QDRANT_KEY)
    server = f"the server at {url}" if url else f"no server ({TEST_QDRANT_KEY} is not set)"
    terminalreporter.write_line(f"retrieval contract: Qdrant Edge, qdrant-client in memory, {server}")
