# SPDX-License-Identifier: Apache-2.0
"""One attempt at the provider: DSPy's native asynchronous engine on a transport that reports every reply's headers.

    backend, capabilities = open_provider(settings)      # raises ConfigInvalid for a model that routes nowhere

No fallback to another SDK, no price list, no request but the LM's own. The key is a setting or a file, which is read
again when it changes.
"""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

from dspy import lm15
from dspy._vendor.lm15.transports import StdlibAsyncTransport
from dspy.clients.engines.lm15_engine import AsyncLM15Engine
from dspy.lm15 import RouterConfig

from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid
from slipway_server.keyfile import KeyFile
from slipway_server.lm import exchange
from slipway_server.lm.engines import Capabilities
from slipway_server.lm.errors import refusal

CONNECT_SECONDS = 10.0
NO_KEY = "none"
"""What is sent to an endpoint of one's own that wants no key; the header must not be empty."""
SCHEMA_PROVIDERS = frozenset({"openai", "openai-chat", "anthropic", "gemini"})
"""Providers whose own endpoints take a JSON schema for the answer."""


class NativeBackend:
    """governor.Backend on AsyncLM15Engine."""

    def __init__(self, config: RouterConfig, transport: StdlibAsyncTransport) -> None:
        self._engine = AsyncLM15Engine(config)
        self._transport = transport

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """The whole answer."""
        with _understanding():
            return _repaired(await self._complete(request))

    async def _complete(self, request: lm15.Request) -> lm15.Response:
        if not self._engine._providers:
            return await self._engine.complete(request)
        # The engine looks up its provider in a thread, because the first time it makes one; a hop costs more than that.
        provider, routed = self._engine._target(request)
        return await provider.complete(routed)

    async def stream(self, request: lm15.Request) -> AsyncIterator[lm15.StreamEvent]:
        """The answer as events."""
        with _understanding():
            async with aclosing(self._engine.stream(request)) as events:
                async for event in events:
                    yield event

    async def aclose(self) -> None:
        """Close every connection."""
        await self._engine.aclose()
        await self._transport.aclose()


@contextmanager
def _understanding() -> Iterator[None]:
    """Raise ProviderError for what fails in this block once the reply has begun: it has a shape that nobody expects."""
    try:
        yield
    except lm15.LM15Error:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        if not exchange.has_replied():
            raise
        raise lm15.ProviderError(f"a reply of another shape ({error})", status=200) from error


def _repaired(response: lm15.Response) -> lm15.Response:
    """The answer with U+FFFD for each half of a surrogate pair, as JSON can carry: an emoji that max_tokens cut.

    No UTF-8 holds one: neither the response to the caller nor the prompt of the program's next call could.
    """
    parts = response.message.parts
    whole = tuple(_repaired_part(part) for part in parts)
    if all(new is old for new, old in zip(whole, parts, strict=True)):
        return response
    return replace(response, message=replace(response.message, parts=whole))


def _repaired_part(part: Any) -> Any:
    text = getattr(part, "text", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        return replace(part, text=text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return part


class _ReportingTransport:
    """Passes requests on, and each reply's headers to the attempt that it belongs to."""

    def __init__(self, transport: StdlibAsyncTransport) -> None:
        self._transport = transport

    def stream(self, request: Any) -> _ReportingStream:
        return _ReportingStream(self._transport.stream(request))


class _ReportingStream:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aenter__(self) -> Any:
        response = await self._inner.__aenter__()
        exchange.replied(response.headers)
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, tb)


def open_provider(settings: Settings) -> tuple[NativeBackend, Capabilities]:
    """Backend and capabilities for `settings.lm_model`. Raises ConfigInvalid."""
    try:
        provider = AsyncLM15Engine(RouterConfig(env={})).resolve(settings.lm_model).provider
    except lm15.LM15Error:
        raise ConfigInvalid(
            f"SLIPWAY_LM_MODEL={settings.lm_model}: no known provider; write provider/model with openai, anthropic, "
            "gemini, groq, openrouter, deepseek, xai, ollama, hosted_vllm or moonshot, or openai/<name> with "
            "SLIPWAY_LM_BASE_URL for any OpenAI-compatible endpoint",
            key="SLIPWAY_LM_MODEL",
        ) from None
    transport = StdlibAsyncTransport(
        connect_timeout=CONNECT_SECONDS,
        # Above the attempt's own limit, which ends a silent attempt with a better error.
        read_timeout=settings.lm_attempt_timeout_seconds + 5.0,
        max_connections=settings.lm_max_concurrency,
        user_agent="slipway",
        # Otherwise the environment is searched for proxies at every request.
        trust_env=bool(urllib.request.getproxies()),
    )
    key = _credential(settings)
    config = RouterConfig(
        api_keys={provider: key} if key is not None else None,
        base_urls={provider: settings.lm_base_url} if settings.lm_base_url else None,
        transport=_ReportingTransport(transport),
    )
    schema = provider in SCHEMA_PROVIDERS and settings.lm_base_url is None
    return NativeBackend(config, transport), Capabilities(supports_response_schema=schema)


def _credential(settings: Settings) -> str | Callable[[], str] | None:
    """The key, or how to get it; None leaves it to the provider's own environment variable."""
    if settings.lm_api_key_file is not None:
        return partial(_read, KeyFile(settings.lm_api_key_file, "SLIPWAY_LM_API_KEY_FILE"))
    if settings.lm_api_key is not None:
        return settings.lm_api_key.get_secret_value()
    # Never another service's key from the environment to an endpoint that was named explicitly.
    return NO_KEY if settings.lm_base_url else None


def _read(key: KeyFile) -> str:
    """The key, in a worker thread of the engine."""
    try:
        return key()
    except ConfigInvalid as error:
        raise refusal(error) from error
