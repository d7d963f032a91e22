# SPDX-License-Identifier: Apache-2.0
"""The embedding client against a real HTTP server: batches, memory, retries, deadlines, refusals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from aiohttp import web
from pydantic import SecretStr

from slipway_server import request
from slipway_server.config import load_settings
from slipway_server.errors import (
    CollectionMismatch,
    ConfigInvalid,
    DeadlineTooShort,
    EmbedderRateLimited,
    EmbedderUnavailable,
    ProviderAuth,
    ProviderBilling,
    ProviderModelUnknown,
    ProviderRejected,
    SlipwayError,
)
from slipway_server.keyfile import KeyFile
from slipway_server.request import RequestContext
from slipway_server.retrieval.endpoint import EndpointConfig, EndpointEmbedder
from slipway_server.retrieval.endpoint_errors import ADVICE_JITTER_SECONDS, retry_after_seconds
from slipway_server.retrieval.staging import Staging

DIMENSION = 8


@dataclass
class Endpoint:
    """An OpenAI-compatible endpoint; `failures` are answered first."""

    failures: list[web.Response] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    native_dimension: int = DIMENSION
    together: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(1))
    """Answers wait for so many requests."""
    trickles: bool = False
    """An answer begins and goes on, and never ends."""
    url: str = ""

    async def answer(self, asked: web.Request) -> web.StreamResponse:
        body = await asked.json()
        self.requests.append(body)
        self.keys.append(asked.headers.get("authorization", ""))
        if self.failures:
            return self.failures.pop(0)
        if self.trickles:
            endless = web.StreamResponse()
            await endless.prepare(asked)
            while True:
                await endless.write(b" ")
                await asyncio.sleep(0.01)
        if "dimensions" not in body:
            await self.together.wait()
        dimension = body.get("dimensions", self.native_dimension)
        rows = [{"index": i, "embedding": [float(len(text))] * dimension} for i, text in enumerate(body["input"])]
        return web.json_response({"data": rows[::-1]})


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    served = Endpoint()
    app = web.Application()
    app.router.add_post("/v1/embeddings", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield served
    await runner.cleanup()


@asynccontextmanager
async def client(
    url: str,
    store: Staging | None = None,
    key: SecretStr | KeyFile | None = None,
    waits: list[float] | None = None,
    timeout_seconds: float = 5.0,
) -> AsyncIterator[EndpointEmbedder]:
    """An embedder whose waits are only noted."""

    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    config = EndpointConfig(url, "model", DIMENSION, timeout_seconds, key)
    embedder = EndpointEmbedder(config, store, sleep=sleep)
    try:
        yield embedder
    finally:
        await embedder.aclose()


def refusal(status: int, code: str = "", **headers: str) -> Callable[[], web.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: web.json_response({"error": {"code": code}}, status=status, headers=named)


async def test_rows_are_unit_vectors_in_the_order_of_the_texts(endpoint: Endpoint) -> None:
    async with client(endpoint.url) as embedder:
        rows = await embedder.embed(["a", "bb", "a"])
        assert rows.shape == (3, DIMENSION)
        np.testing.assert_allclose(rows, DIMENSION**-0.5, rtol=1e-6)
        assert (await embedder.embed([])).shape == (0, DIMENSION)
    assert [asked["input"] for asked in endpoint.requests] == [["a", "bb"]]
    assert endpoint.keys == [""]


async def test_the_environments_proxy_is_used(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", endpoint.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "")
    async with client("http://embedder.invalid/v1") as embedder:
        assert (await embedder.embed(["a"])).shape == (1, DIMENSION)
    assert len(endpoint.requests) == 1


async def test_batches_of_a_hundred(endpoint: Endpoint) -> None:
    async with client(endpoint.url) as embedder:
        await embedder.embed([f"text {number}" for number in range(250)])
    assert [len(asked["input"]) for asked in endpoint.requests] == [100, 100, 50]


async def test_a_text_is_asked_for_once_per_endpoint_model_and_dimension(endpoint: Endpoint, tmp_path: Path) -> None:
    store = Staging(tmp_path)
    async with client(endpoint.url, store) as embedder:
        first = await embedder.embed(["one", "two"])
    async with client(endpoint.url, store) as embedder:
        again = await embedder.embed(["two", "three", "one"])
    np.testing.assert_array_equal(again[[2, 0]], first)
    assert [asked["input"] for asked in endpoint.requests] == [["one", "two"], ["three"]]
    other = EndpointConfig(endpoint.url, "other", DIMENSION, 5.0)
    embedder = EndpointEmbedder(other, store)
    await embedder.embed(["one"])
    await embedder.aclose()
    assert endpoint.requests[-1]["model"] == "other"


@pytest.mark.parametrize(
    ("failure", "wait"),
    [
        (refusal(429, retry_after="7"), 7.0),
        (refusal(429, retry_after_ms="1500"), 1.5),
        (refusal(503, retry_after="2"), 2.0),
    ],
)
async def test_retry_after_is_obeyed(endpoint: Endpoint, failure: Callable[[], web.Response], wait: float) -> None:
    waits: list[float] = []
    endpoint.failures = [failure()]
    async with client(endpoint.url, waits=waits) as embedder:
        await embedder.embed(["a"])
    assert wait <= waits.pop() <= wait + ADVICE_JITTER_SECONDS
    assert waits == []


async def test_other_failures_are_retried_with_growing_waits(endpoint: Endpoint) -> None:
    waits: list[float] = []
    endpoint.failures = [refusal(500)(), refusal(502)(), web.Response(text="not json")]
    async with client(endpoint.url, waits=waits) as embedder:
        await embedder.embed(["a"])
    assert len(waits) == 3
    assert all(low <= wait <= 2 * low for wait, low in zip(waits, (0.125, 0.25, 0.5), strict=True))


async def test_attempts_end(endpoint: Endpoint) -> None:
    endpoint.failures = [refusal(429)() for _ in range(9)]
    async with client(endpoint.url) as embedder:
        with pytest.raises(EmbedderRateLimited):
            await embedder.embed(["a"])
    assert len(endpoint.requests) == 4


async def test_a_wait_beyond_the_cap_is_left_to_the_caller(endpoint: Endpoint) -> None:
    endpoint.failures = [refusal(429, retry_after="3600")()]
    async with client(endpoint.url) as embedder:
        with pytest.raises(EmbedderRateLimited) as caught:
            await embedder.embed(["a"])
    assert caught.value.retry_after_seconds == 3600
    assert len(endpoint.requests) == 1


async def test_a_wait_beyond_the_deadline_fails_at_once(endpoint: Endpoint) -> None:
    endpoint.failures = [refusal(429, retry_after="20")()]
    with request.opened(RequestContext(deadline=time.monotonic() + 10)):
        async with client(endpoint.url) as embedder:
            with pytest.raises(EmbedderRateLimited):
                await embedder.embed(["a"])
    assert len(endpoint.requests) == 1


async def test_nothing_is_asked_after_the_deadline(endpoint: Endpoint) -> None:
    with request.opened(RequestContext(deadline=time.monotonic() - 1)):
        async with client(endpoint.url) as embedder:
            with pytest.raises(DeadlineTooShort):
                await embedder.embed(["a"])
    assert endpoint.requests == []


async def test_an_answer_that_trickles_ends_with_the_limit_or_the_deadline(endpoint: Endpoint) -> None:
    endpoint.trickles = True
    waits: list[float] = []
    async with asyncio.timeout(60), client(endpoint.url, waits=waits, timeout_seconds=0.2) as embedder:
        with pytest.raises(EmbedderUnavailable, match=r"within 0\.2 s"):
            await embedder.embed(["a"])
    assert len(waits) == 3
    async with asyncio.timeout(60), client(endpoint.url, timeout_seconds=300) as embedder:
        with (
            request.opened(RequestContext(deadline=time.monotonic() + 0.5)),
            pytest.raises(DeadlineTooShort),
        ):
            await embedder.embed(["a"])


async def test_an_answer_that_cannot_be_decoded_is_asked_for_again(endpoint: Endpoint) -> None:
    endpoint.failures = [web.Response(body=b"no gzip", headers={"content-encoding": "gzip"})]
    async with client(endpoint.url) as embedder:
        assert (await embedder.embed(["a"])).shape == (1, DIMENSION)
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (refusal(401), ProviderAuth),
        (refusal(403), ProviderAuth),
        (refusal(402), ProviderBilling),
        (refusal(429, "insufficient_quota"), ProviderBilling),
        (refusal(429, "exceeded_current_quota_error"), ProviderBilling),
        (refusal(404), ProviderModelUnknown),
        (refusal(400), ProviderRejected),
    ],
)
async def test_what_waiting_does_not_help_fails_at_once(
    endpoint: Endpoint, failure: Callable[[], web.Response], kind: type[SlipwayError]
) -> None:
    endpoint.failures = [failure()]
    async with client(endpoint.url, key=SecretStr("sk-secret")) as embedder:
        with pytest.raises(kind) as caught:
            await embedder.embed(["a private text"])
    assert len(endpoint.requests) == 1
    assert "private" not in caught.value.message
    assert "sk-secret" not in caught.value.message


async def test_nobody_there(unused_tcp_port: int) -> None:
    waits: list[float] = []
    async with client(f"http://127.0.0.1:{unused_tcp_port}/v1", waits=waits) as embedder:
        with pytest.raises(EmbedderUnavailable, match="does not answer"):
            await embedder.embed(["a"])
    assert len(waits) == 3


async def test_a_longer_model_is_asked_to_shorten_and_a_shorter_one_refused(endpoint: Endpoint) -> None:
    endpoint.native_dimension = 2 * DIMENSION
    async with client(endpoint.url) as embedder:
        assert (await embedder.embed(["a"])).shape == (1, DIMENSION)
        await embedder.embed(["b"])
    assert [asked.get("dimensions") for asked in endpoint.requests] == [None, DIMENSION, DIMENSION]
    endpoint.native_dimension = 4
    async with client(endpoint.url) as embedder:
        with pytest.raises(CollectionMismatch, match="SLIPWAY_EMBEDDING_DIMENSION=4"):
            await embedder.embed(["a"])


async def test_batches_that_learn_together_that_a_model_gives_longer_vectors(endpoint: Endpoint) -> None:
    endpoint.native_dimension, endpoint.together = 2 * DIMENSION, asyncio.Barrier(2)
    async with asyncio.timeout(60), client(endpoint.url, timeout_seconds=60) as embedder:
        both = await asyncio.gather(embedder.embed(["a"]), embedder.embed(["b"]))
    assert [rows.shape for rows in both] == [(1, DIMENSION)] * 2
    assert [asked.get("dimensions") for asked in endpoint.requests] == [None, None, DIMENSION, DIMENSION]


async def test_a_key_file_is_read_again_when_it_changes(endpoint: Endpoint, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first\n")
    async with client(endpoint.url, key=KeyFile(file, "SLIPWAY_EMBEDDING_API_KEY_FILE")) as embedder:
        await embedder.embed(["a"])
        file.write_text("the second\n")
        await embedder.embed(["b"])
        assert endpoint.keys == ["Bearer first", "Bearer the second"]
        file.unlink()
        with pytest.raises(ConfigInvalid, match="SLIPWAY_EMBEDDING_API_KEY_FILE"):
            await embedder.embed(["c"])


def test_models_of_the_openai_scheme() -> None:
    ollama = {"embedding_model": "openai/qwen3-embedding:0.6b", "embedding_base_url": "http://127.0.0.1:11434/v1/"}
    config = EndpointConfig.from_settings(load_settings(ollama, environ={}))
    assert (config.base_url, config.model) == ("http://127.0.0.1:11434/v1", "qwen3-embedding:0.6b")
    own = EndpointConfig.from_settings(load_settings({"embedding_model": "openai/text-embedding-3-small"}, environ={}))
    assert own.base_url == "https://api.openai.com/v1"


def test_a_key_never_shows() -> None:
    values = {"embedding_model": "openai/m", "embedding_api_key": "sk-secret"}
    assert "sk-" not in repr(EndpointConfig.from_settings(load_settings(values, environ={})))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", None),
        ("soon", None),
        ("-3", 0.0),
        ("0.5", 0.5),
        ("inf", None),
        ("nan", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_forms(value: str, expected: float | None) -> None:
    assert retry_after_seconds(httpx.Response(429, headers={"retry-after": value})) == expected


def test_retry_after_as_a_date() -> None:
    date = formatdate(time.time() + 60, usegmt=True)
    seconds = retry_after_seconds(httpx.Response(429, headers={"retry-after": date}))
    assert seconds == pytest.approx(60, abs=5)
