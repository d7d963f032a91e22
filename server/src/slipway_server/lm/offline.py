# SPDX-License-Identifier: Apache-2.0
"""`offline/extractive`: a reader that quotes answers from the prompt. It is no language model.

    lm = dspy.LM("offline/extractive", engine=ExtractiveReader(), num_retries=0)

It shows Slipway's flow, and tests it, without a model, a key or a network: a deterministic algorithm on the CPU, well
under a millisecond for a usual prompt. It reads the fields that a DSPy adapter asks for, picks a sentence by lexical
overlap with the question and a span of the question's kind (lm/offline_extract.py), and takes length and form of an
answer from the demos in the prompt, or from instructions that ask for a short answer; without either it answers with
the sentence. So compiling with demos raises its exact match for the same reason as a model's: they show the form.
It knows nothing that the prompt does not say, and cannot reason, write or translate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dspy

from slipway_server.lm.offline_answer import answer_messages
from slipway_server.lm.offline_tokens import CHARACTERS_PER_TOKEN, estimate_tokens

MODEL = "offline/extractive"


class ExtractiveReader:
    """DSPy engine (one request in, one response out) around the extractive algorithm.

    Never raises on an odd prompt: where nothing fits, the answer says so. Usage is estimated. An answer longer than
    `config.max_tokens` is cut there, with finish_reason "length". Safe to share between threads: it has no state.
    """

    supported_params: frozenset[str] = frozenset({"max_tokens", "temperature", "response_format"})
    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = False

    def complete(self, request: dspy.lm15.Request) -> dspy.lm15.Response:
        """Answer one request."""
        messages = _messages(request)
        text = answer_messages(messages)
        used = estimate_tokens("".join(text for _, text in messages))
        limit = request.config.max_tokens
        cut = limit is not None and estimate_tokens(text) > limit
        if cut:
            text = text[: limit * CHARACTERS_PER_TOKEN]
        return dspy.lm15.Response(
            id=None,
            model=request.model,
            message=dspy.lm15.Message.assistant(text),
            finish_reason="length" if cut else "stop",
            usage=dspy.lm15.Usage(input_tokens=used, output_tokens=estimate_tokens(text)),
        )

    def stream(self, request: dspy.lm15.Request) -> Iterator[Any]:
        """The same answer as events, in one delta."""
        yield from dspy.lm15.response_to_events(self.complete(request))

    def close(self) -> None:
        """Nothing to release."""

    def __deepcopy__(self, memo: dict[int, Any]) -> ExtractiveReader:
        return self


def _messages(request: dspy.lm15.Request) -> list[tuple[str, str]]:
    messages = [(message.role, _text(message.parts)) for message in request.messages]
    if request.system is not None:
        system = request.system if isinstance(request.system, str) else _text(request.system)
        messages.insert(0, ("system", system))
    return messages


def _text(parts: Sequence[Any]) -> str:
    return "".join(part.text for part in parts if isinstance(part, dspy.lm15.TextPart))
