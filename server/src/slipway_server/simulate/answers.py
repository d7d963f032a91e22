# SPDX-License-Identifier: Apache-2.0
"""The bodies of successful answers: chat completions, their streams, embeddings and the list of models.

Tokens are estimated as one per four characters, the same as the extractive reader does.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from slipway_server.lm.offline_answer import answer_messages
from slipway_server.lm.offline_tokens import CHARACTERS_PER_TOKEN, estimate_tokens
from slipway_server.simulate.config import Behaviour

_CHUNK = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion: its text, and the tokens that are reported and charged."""

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int


def messages_of(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(role, text) pairs of a request's messages; parts other than text are left out."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return []
    return [(str(m.get("role", "user")), _text(m.get("content"))) for m in messages if isinstance(m, dict)]


def max_tokens_of(body: Mapping[str, Any]) -> int | None:
    """The request's limit of output, under either of its names."""
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return limit if isinstance(limit, int) and limit > 0 else None


def answer(
    behaviour: Behaviour, messages: Sequence[tuple[str, str]], limit: int | None, turn: int, dice: random.Random
) -> Answer:
    """Answer messages from the configured source; cut at `limit` tokens."""
    match behaviour.answer:
        case "reader":
            text = answer_messages(messages)
        case "text":
            text = behaviour.text
        case "script":
            text = behaviour.script[turn % len(behaviour.script)] if behaviour.script else behaviour.text
    cut = limit is not None and estimate_tokens(text) > limit
    text = text[: limit * CHARACTERS_PER_TOKEN] if cut and limit else text
    length = _length(behaviour, dice) or estimate_tokens(text)
    length = min(length, limit) if limit else length
    return Answer(text, "length" if cut else "stop", sum(estimate_tokens(part) for _, part in messages), length)


def completion(reply: Answer, request_id: str, model: str) -> bytes:
    """Body of a chat completion."""
    message = {"role": "assistant", "content": reply.text}
    return orjson.dumps(
        {
            "id": request_id,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
            "usage": _usage(reply),
        }
    )


def completion_events(reply: Answer, request_id: str, model: str, *, with_usage: bool) -> Iterator[bytes]:
    """Server-sent events of a streamed chat completion, word by word."""

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        head = {"id": request_id, "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
        return sse({**head, "choices": choices, **more})

    yield event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    for part in _CHUNK.findall(reply.text):
        yield event([{"index": 0, "delta": {"content": part}, "finish_reason": None}])
    yield event([{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}])
    if with_usage:
        yield event([], usage=_usage(reply))
    yield b"data: [DONE]\n\n"


def sse(data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def embeddings(vectors: Sequence[Sequence[float]], model: str, tokens: int) -> bytes:
    """Body of an embeddings answer."""
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(vectors)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return orjson.dumps(
        {"object": "list", "data": data, "model": model, "usage": usage}, option=orjson.OPT_SERIALIZE_NUMPY
    )


def model_list(names: Sequence[str]) -> bytes:
    """Body of the list of models."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in names]
    return orjson.dumps({"object": "list", "data": data})


def _usage(reply: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }


def _length(behaviour: Behaviour, dice: random.Random) -> int | None:
    mean, spread = behaviour.completion_tokens, behaviour.completion_spread
    if mean is None or spread <= 0:
        return mean
    return max(1, round(dice.lognormvariate(math.log(mean) - spread**2 / 2, spread)))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
