# SPDX-License-Identifier: Apache-2.0
"""Publishes a Qdrant server's collection as an embedded version, so that pods serve it without a network hop.

A collection of one shard is taken as the server's own shard snapshot, index included, which Edge opens as it is. One
of several shards, or without a snapshot (the REST port is closed), is read point by point and indexed here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import httpx

from slipway_server.config import Settings
from slipway_server.errors import CollectionMissing, DataCorrupt
from slipway_server.retrieval import archive, shard
from slipway_server.retrieval.embedded_target import EmbeddedTarget
from slipway_server.retrieval.ingest import Summary
from slipway_server.retrieval.qdrant import SERVER, Connection, ServerConfig
from slipway_server.retrieval.scratch import Scratch
from slipway_server.retrieval.version import Version, check_name

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 300.0


async def publish_from_server(settings: Settings, connection: Connection | None = None) -> Summary:
    """Publish the configured collection's current version from SLIPWAY_QDRANT_URL into SLIPWAY_DATA_DIR.

    `connection` replaces the one that the settings describe.

    Raises CollectionMissing, CollectionMismatch (not made by `slipway ingest`), RetrievalUnavailable, ConfigInvalid,
    DataCorrupt (the snapshot or collection has not the points that it should have).
    """
    started = time.monotonic()
    config = ServerConfig.from_settings(settings)
    connection = connection or await Connection.open(config)
    try:
        version = await connection.current(check_name(settings.collection))
        if version is None:
            raise CollectionMissing(f"Collection {settings.collection} does not exist at {SERVER}")
        changed = not await _is_there(version, settings)
        if changed and not (await connection.shards(version) == 1 and await _from_snapshot(config, version, settings)):
            await _from_points(connection, version, settings)
    finally:
        await connection.aclose()
    reused = version.passages if changed else 0
    return Summary.of(version, reused=reused, changed=changed, seconds=time.monotonic() - started)


async def _is_there(version: Version, settings: Settings) -> bool:
    """Whether the version is published already, undamaged."""
    target = EmbeddedTarget(settings.data_dir, settings.scratch_dir)
    try:
        before = await target.current(version.collection)
    except DataCorrupt:
        return False
    return before is not None and before.digest == version.digest and await target.intact(before)


async def _from_snapshot(config: ServerConfig, version: Version, settings: Settings) -> bool:
    """False where the server gives no snapshot."""
    scratch = await asyncio.to_thread(Scratch, settings.scratch_dir)
    try:
        file = scratch.path / "shard.snapshot"
        await _download(config, version, file)
        await asyncio.to_thread(_publish_snapshot, file, scratch.path / "shard", version, settings.data_dir)
        return True
    except httpx.HTTPError as error:
        log.warning("no_snapshot", extra={"collection_version": version.name, "cause": type(error).__name__})
        return False
    finally:
        await asyncio.to_thread(scratch.close)


async def _download(config: ServerConfig, version: Version, file: Path) -> None:
    headers = {"api-key": config.api_key.get_secret_value()} if config.api_key is not None else {}
    url = f"{config.url}/collections/{version.name}/shards/0/snapshot"
    async with (
        httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        response.raise_for_status()
        with await asyncio.to_thread(file.open, "wb") as target:
            async for chunk in response.aiter_bytes(CHUNK_BYTES):
                await asyncio.to_thread(target.write, chunk)


def _publish_snapshot(file: Path, folder: Path, version: Version, data_dir: Path) -> None:
    try:
        shard.unpack_snapshot(file, folder)
        opened = shard.load(folder)
        points = shard.count(opened)
        opened.close()
    except Exception as error:
        raise DataCorrupt(f"The snapshot of {version.name} does not open ({type(error).__name__})") from error
    if points != version.passages:
        raise DataCorrupt(f"The snapshot of {version.name} has {points} points instead of {version.passages}")
    archive.publish(folder, data_dir, version)


async def _from_points(connection: Connection, version: Version, settings: Settings) -> None:
    target = EmbeddedTarget(settings.data_dir, settings.scratch_dir)
    points = 0
    try:
        async for page in connection.read(version.name, with_vectors=True):
            if page.vectors is None:
                continue
            if points == 0:
                await target.begin(version, sparse=page.vectors.sparse is not None)
            await target.add(page.points, page.vectors)
            points += len(page.points)
        if points != version.passages:
            raise DataCorrupt(f"Collection {version.name} has {points} points instead of {version.passages}")
        await target.publish()
    finally:
        await target.aclose()
