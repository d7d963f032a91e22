# SPDX-License-Identifier: Apache-2.0
"""Embeddings from an OpenAI-compatible endpoint (`POST …/v1/embeddings`): OpenAI, Ollama, llama.cpp, vLLM, ….

Each text's vector is remembered by (endpoint, model, dimension, text), so that a batch asks only for what is new.
Failures that may pass are tried again, as far as the request's deadline allows.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import SecretStr

from slipway_server import request
from slipway_server.cache.protocol import EntryStore
from slipway_server.config import Settings
from slipway_server.errors import CollectionMismatch, ConfigInvalid, DeadlineTooShort, EmbedderUnavailable
from slipway_server.keyfile import KeyFile
from slipway_server.retrieval.endpoint_errors import refused, retrying
from slipway_server.telemetry.metrics import EMBEDDED_TEXTS

BATCH = 100
"""Texts per request."""
OPENAI_PREFIX = "openai/"
OPENAI_BASE_URL = "https://api.openai.com/v1"
CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """Where and what to ask. `model` as the endpoint knows it; `key` None sends none."""

    base_url: str
    model: str
    dimension: int
    timeout_seconds: float
    key: SecretStr | KeyFile | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> EndpointConfig:
        """Raises ConfigInvalid where the model needs an endpoint and none is set."""
        name = settings.embedding_model
        base_url = settings.embedding_base_url or (OPENAI_BASE_URL if name.startswith(OPENAI_PREFIX) else None)
        if base_url is None:
            raise ConfigInvalid(
                f"SLIPWAY_EMBEDDING_MODEL {name[:60]} is not built in: set SLIPWAY_EMBEDDING_BASE_URL to its endpoint",
                key="SLIPWAY_EMBEDDING_BASE_URL",
            )
        file = settings.embedding_api_key_file
        return cls(
            base_url=base_url.rstrip("/"),
            model=name.removeprefix(OPENAI_PREFIX),
            dimension=settings.embedding_dimension,
            timeout_seconds=settings.embedding_timeout_seconds,
            key=KeyFile(file, "SLIPWAY_EMBEDDING_API_KEY_FILE") if file is not None else settings.embedding_api_key,
        )


class EndpointEmbedder:
    """Vectors from an endpoint; to be used on one event loop.

    embedder = EndpointEmbedder(EndpointConfig.from_settings(settings), store)
    vectors = await embedder.embed(["a text"])
    await embedder.aclose()

    `embed` raises ProviderAuth, ProviderBilling, ProviderModelUnknown, ProviderRejected, EmbedderUnavailable,
    EmbedderRateLimited, DeadlineTooShort, and CollectionMismatch where the model gives another dimension.
    """

    def __init__(
        self,
        config: EndpointConfig,
        store: EntryStore | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = config.model
        self.dimension = config.dimension
        self._config, self._store, self._sleep = config, store, sleep
        self._shorten = False
        # No limits of httpx's own: they are of one read or write, and an answer may come byte by byte.
        self._client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=CONNECTIONS))

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One unit row per text: from the store, else from the endpoint in batches of 100."""
        rows = await self._remembered(dict.fromkeys(texts))
        missing = [text for text, row in rows.items() if row is None]
        EMBEDDED_TEXTS.labels("cache").inc(len(rows) - len(missing))
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            for text, row in zip(batch, await self._ask(batch), strict=True):
                rows[text] = row
                if self._store is not None:
                    await self._store.put(self._cache_key(text), row.astype("<f4").tobytes())
            EMBEDDED_TEXTS.labels("endpoint").inc(len(batch))
        found = [row for row in (rows[text] for text in texts) if row is not None]
        return np.stack(found) if found else np.zeros((0, self.dimension), dtype=np.float32)

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _remembered(self, texts: dict[str, None]) -> dict[str, NDArray[np.float32] | None]:
        rows: dict[str, NDArray[np.float32] | None] = dict(texts)
        for text in rows if self._store is not None else ():
            assert self._store is not None
            stored = await self._store.get(self._cache_key(text))
            if stored is not None and len(stored) == 4 * self.dimension:
                rows[text] = np.frombuffer(stored, dtype="<f4").astype(np.float32)
        return rows

    def _cache_key(self, text: str) -> str:
        parts = ["embedding", 1, self._config.base_url, self._config.model, self.dimension, text]
        return hashlib.sha256(orjson.dumps(parts)).hexdigest()

    async def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        """One batch, with retries. A model that gives longer vectors is asked to shorten them."""
        # Of this batch: others under way may learn meanwhile that the model gives longer ones.
        shortened = self._shorten
        async for attempt in retrying(self._sleep):
            with attempt:
                vectors = _unit_rows(await self._post(texts), len(texts))
        if vectors.shape[1] > self.dimension and not shortened:
            self._shorten = True
            return await self._ask(texts)
        if vectors.shape[1] != self.dimension:
            raise CollectionMismatch(
                f"Embedding model {self.name[:60]} gives {vectors.shape[1]} dimensions; set "
                f"SLIPWAY_EMBEDDING_DIMENSION={vectors.shape[1]} (configured is {self.dimension})",
                configured=str(self.dimension),
                given=str(vectors.shape[1]),
            )
        return vectors

    async def _post(self, texts: list[str]) -> Any:
        """One attempt; the parsed answer."""
        remaining = request.current().remaining_seconds()
        if remaining is not None and remaining <= 0:
            raise DeadlineTooShort("The deadline passed before the embedding endpoint was asked")
        limit = self._config.timeout_seconds
        body: dict[str, Any] = {"model": self._config.model, "input": texts, "encoding_format": "float"}
        if self._shorten:
            body["dimensions"] = self.dimension
        key = await self._key()
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        url = f"{self._config.base_url}/embeddings"
        try:
            async with asyncio.timeout(limit if remaining is None else min(remaining, limit)):
                response = await self._client.post(url, content=orjson.dumps(body), headers=headers)
        except TimeoutError:
            if remaining is not None and remaining <= limit:
                raise DeadlineTooShort("The deadline passed before the embedding endpoint answered") from None
            raise EmbedderUnavailable(
                f"The embedding endpoint (SLIPWAY_EMBEDDING_BASE_URL) does not answer within {limit:g} s"
            ) from None
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise EmbedderUnavailable(
                f"The embedding endpoint (SLIPWAY_EMBEDDING_BASE_URL) does not answer ({type(error).__name__})"
            ) from error
        if response.status_code != httpx.codes.OK:
            raise refused(response, self._config.model)
        return response.content

    async def _key(self) -> str | None:
        key = self._config.key
        if isinstance(key, KeyFile):
            return await asyncio.to_thread(key)
        return key.get_secret_value() if key is not None else None


def _unit_rows(body: bytes, count: int) -> NDArray[np.float32]:
    """The vectors of an answer, by their index, as unit rows."""
    try:
        rows = sorted(orjson.loads(body)["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
            raise ValueError("shape")
    except (ValueError, KeyError, TypeError):
        raise EmbedderUnavailable("The embedding endpoint's answer is not in the form of OpenAI's API") from None
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
