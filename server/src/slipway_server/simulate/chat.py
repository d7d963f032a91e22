# SPDX-License-Identifier: Apache-2.0
"""POST /v1/chat/completions of the simulated provider, whole or as a stream."""

from __future__ import annotations

import asyncio

from aiohttp import web

from slipway_server.lm.offline_tokens import estimate_tokens
from slipway_server.simulate.answers import (
    Answer,
    answer,
    completion,
    completion_events,
    max_tokens_of,
    messages_of,
    sse,
)
from slipway_server.simulate.exchange import IN_STREAM, Exchange, Refused
from slipway_server.simulate.wire import REFUSALS, error_body

DEFAULT_RESERVATION = 4096
"""Output tokens that count as reserved where the request states no limit."""


async def complete_chat(exchange: Exchange) -> web.StreamResponse:
    """Answer one chat request."""
    body, behaviour = exchange.body, exchange.behaviour
    messages, limit = messages_of(body), max_tokens_of(body)
    if not messages:
        raise Refused("invalid", REFUSALS["invalid"])
    prompt = sum(estimate_tokens(text) for _, text in messages)
    if behaviour.context_tokens is not None and prompt + (limit or 0) > behaviour.context_tokens:
        raise Refused("context-length", REFUSALS["context-length"])
    reserved = 0 if behaviour.output_charged == "produced" else (limit or DEFAULT_RESERVATION)
    exchange.input_tokens = prompt
    await exchange.admit(prompt + reserved)
    reply = answer(behaviour, messages, limit, next(exchange.state.turns), exchange.state.dice)
    _settle(exchange, reply, reserved)
    if body.get("stream") is True:
        return await _stream(exchange, reply)
    if exchange.fault in IN_STREAM:
        exchange.outcome = exchange.fault
        exchange.reset_connection()
    return await exchange.reply(completion(reply, exchange.request_id, exchange.model))


def _settle(exchange: Exchange, reply: Answer, reserved: int) -> None:
    exchange.output_tokens = reply.output_tokens
    if exchange.quota is not None and exchange.behaviour.output_charged != "reserved":
        exchange.quota.charge_tokens(reply.output_tokens - reserved)


async def _stream(exchange: Exchange, reply: Answer) -> web.StreamResponse:
    options = exchange.body.get("stream_options")
    usage = isinstance(options, dict) and options.get("include_usage") is True
    behaviour = exchange.behaviour
    response = web.StreamResponse(headers={**exchange.headers, "Content-Type": "text/event-stream"})
    await response.prepare(exchange.request)
    exchange.status = 200
    await asyncio.sleep(behaviour.first_byte_seconds)
    events = completion_events(reply, exchange.request_id, exchange.model, with_usage=usage)
    for sent, event in enumerate(events):
        if exchange.fault in IN_STREAM and sent >= behaviour.cut_after_chunks:
            return await _break(exchange, response)
        await response.write(event)
        if behaviour.chunk_seconds > 0:
            await asyncio.sleep(behaviour.chunk_seconds)
    await response.write_eof()
    return response


async def _break(exchange: Exchange, response: web.StreamResponse) -> web.StreamResponse:
    exchange.outcome = exchange.fault
    if exchange.fault == "error-event":
        await response.write(sse(error_body(REFUSALS["server-error"])))
        await response.write_eof()
        return response
    if exchange.request.transport is not None:
        exchange.request.transport.close()
    return response
