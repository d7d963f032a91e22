# SPDX-License-Identifier: Apache-2.0
"""POST /v1/embeddings of the simulated provider: the built-in hashing embedder's vectors."""

from __future__ import annotations

from aiohttp import web

from slipway_server.lm.offline_tokens import estimate_tokens
from slipway_server.retrieval.hashing import HashingEmbedder
from slipway_server.simulate.answers import embeddings
from slipway_server.simulate.exchange import Exchange, Refused
from slipway_server.simulate.wire import REFUSALS


async def embed(exchange: Exchange) -> web.StreamResponse:
    """Answer one embeddings request."""
    given = exchange.body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise Refused("invalid", REFUSALS["invalid"])
    dimension = exchange.body.get("dimensions", exchange.state.config.embedding_dimension)
    if type(dimension) is not int or not 1 <= dimension <= 65_536:
        raise Refused("invalid", REFUSALS["invalid"])
    exchange.input_tokens = sum(estimate_tokens(text) for text in texts)
    await exchange.admit(exchange.input_tokens)
    vectors = await HashingEmbedder(dimension).embed(texts)
    return await exchange.reply(embeddings(list(vectors), exchange.model, exchange.input_tokens))
