# SPDX-License-Identifier: Apache-2.0
"""How many tokens a call will take, from what calls of the same stage took.

    need = needs.predict(request)
    needs.learn(request, usage)

A stage is one predictor of a program, recognised by its system prompt, which DSPy's adapters write from the signature
alone. Prompt tokens are predicted from the text's length and the stage's characters per token, completion tokens by the
stage's mean: with the difference carried to the next attempts that uses a quota that is charged as produced fully.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from dspy import lm15

from slipway_server.lm.pacing.types import Need

_STAGES = 256
_WEIGHT = 0.1
_CHARACTERS_PER_TOKEN = 4.0
_MOST_TOKENS = 10**9
_FIRST_COMPLETION_TOKENS = 256.0
"""Guess for a stage that was never seen; bounded by max_tokens."""


@dataclass(slots=True)
class _Stage:
    characters_per_token: float = _CHARACTERS_PER_TOKEN
    completion_tokens: float = -1.0
    seen: int = 0


class Needs:
    """Predictions by stage; the stages that were not used for the longest time are forgotten."""

    def __init__(self) -> None:
        self._stages: OrderedDict[int, _Stage] = OrderedDict()

    def predict(self, request: lm15.Request) -> Need:
        """Tokens of one attempt."""
        stage = self._stages.get(_stage_key(request), _UNSEEN)
        prompt = _characters(request) / stage.characters_per_token
        completion = stage.completion_tokens if stage.seen else _FIRST_COMPLETION_TOKENS
        if request.config.max_tokens is not None:
            completion = min(completion, request.config.max_tokens)
        return Need(1.0, prompt + completion, prompt, completion)

    def learn(self, request: lm15.Request, used: Need) -> None:
        """What an attempt really took."""
        key = _stage_key(request)
        stage = self._stages.pop(key, None) or _Stage()
        self._stages[key] = stage
        weight = max(_WEIGHT, 1.0 / (stage.seen + 1))
        stage.seen += 1
        if used.input_tokens > 0:
            ratio = _characters(request) / used.input_tokens
            stage.characters_per_token += weight * (ratio - stage.characters_per_token)
        stage.completion_tokens += weight * (used.output_tokens - stage.completion_tokens)
        if len(self._stages) > _STAGES:
            self._stages.popitem(last=False)


_UNSEEN = _Stage()


def used_of(usage: lm15.Usage | None) -> Need | None:
    """What the provider says that an attempt took; None where it says nothing, or what no attempt can take."""
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    total = usage.total_tokens or prompt + completion
    return Need(1.0, total, prompt, completion) if max(prompt, completion, total) <= _MOST_TOKENS else None


def _stage_key(request: lm15.Request) -> int:
    system = request.system
    return hash(system if isinstance(system, str) or system is None else tuple(map(_text, system)))


def _characters(request: lm15.Request) -> int:
    system = request.system
    length = len(system) if isinstance(system, str) else sum(len(_text(part)) for part in system or ())
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, lm15.TextPart):
                length += len(part.text)
    return length or 1


def _text(part: Any) -> str:
    return part.text if isinstance(part, lm15.TextPart) else ""
