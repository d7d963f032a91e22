# SPDX-License-Identifier: Apache-2.0
"""The adapter between signatures and prompts: DSPy's chat format, one retry of an unparseable answer, no second format.

The prompts are byte for byte those of dspy.ChatAdapter. Three things differ from it:

* An answer that cannot be parsed is asked for once more with a fresh rollout id, so that neither the cache nor the
  provider's determinism returns the same text, instead of in JSON mode at another prompt.
* What the call put into the cache is published only after its answer was parsed: DSPy stores before it parses.
* The part of the prompt that does not depend on the request (system message, demos) is formatted once per predictor
  where `memoise` is set. Formatting is most of a request's CPU (pydantic builds a TypeAdapter per field value).
"""

from __future__ import annotations

import json
import logging
import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from slipway_server.cache import deferred
from slipway_server.telemetry import metrics

RETRY_TEMPERATURE = 0.7
"""At a temperature near 0 the answer would come again; DSPy itself uses this value where it needs variety."""

_MEMO_ENTRIES = 256

log = logging.getLogger(__name__)

_Key = tuple[object, ...]


class SlipwayAdapter(dspy.ChatAdapter):
    """dspy.ChatAdapter with one retry; set `memoise` only where signatures and demos do not change."""

    def __init__(self, *, memoise: bool = False) -> None:
        super().__init__(use_json_adapter_fallback=False)
        self._memo: OrderedDict[_Key, tuple[Any, Any]] | None = OrderedDict() if memoise else None

    def __call__(self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Any, inputs: Any) -> Any:
        try:
            with _published_when_parsed():
                return super().__call__(lm, dict(lm_kwargs), signature, demos, inputs)
        except AdapterParseError as error:
            _repeating(error)
        with _published_when_parsed():
            return super().__call__(lm, _varied(lm, lm_kwargs), signature, demos, inputs)

    async def acall(self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Any, inputs: Any) -> Any:
        try:
            with _published_when_parsed():
                return await super().acall(lm, dict(lm_kwargs), signature, demos, inputs)
        except AdapterParseError as error:
            _repeating(error)
        with _published_when_parsed():
            return await super().acall(lm, _varied(lm, lm_kwargs), signature, demos, inputs)

    def format_system_message(self, signature: Any) -> str:
        make = super().format_system_message
        return self._memoised(("system", id(signature)), signature, lambda: make(signature))

    def format_demos(self, signature: Any, demos: list[Any]) -> list[dict[str, Any]]:
        make = super().format_demos
        key = ("demos", id(signature), *(id(demo) for demo in demos))
        return list(self._memoised(key, (signature, list(demos)), lambda: make(signature, demos)))

    def format_user_message_content(
        self, signature: Any, inputs: dict[str, Any], prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        """As DSPy's, which builds a pydantic TypeAdapter for each value; texts and lists of texts need none."""
        fields = {name: field for name, field in signature.input_fields.items() if name in inputs}
        texts = [_plain_text(field, inputs[name]) for name, field in fields.items()]
        if None in texts:
            return super().format_user_message_content(signature, inputs, prefix, suffix, main_request)
        parts = [prefix, *(f"[[ ## {name} ## ]]\n{text}" for name, text in zip(fields, texts, strict=True))]
        if main_request:
            requirements = self.user_message_output_requirements(signature)
            parts += [requirements] if requirements is not None else []
        return "\n\n".join([*parts, suffix]).strip()

    def user_message_output_requirements(self, signature: Any) -> str:
        make = super().user_message_output_requirements
        return self._memoised(("requirements", id(signature)), signature, lambda: make(signature))

    def _memoised(self, key: _Key, owners: Any, make: Any) -> Any:
        """`make()`, remembered by the identity of `owners`, which the entry keeps alive so that no id is used again."""
        if self._memo is None:
            return make()
        if key not in self._memo:
            self._memo[key] = (owners, make())
            if len(self._memo) > _MEMO_ENTRIES:
                self._memo.popitem(last=False)
        return self._memo[key][1]


def _plain_text(field: Any, value: Any) -> str | None:
    """How DSPy formats a value, where that takes no serialisation; None elsewhere."""
    if type(value) is str:
        return value
    if type(value) is list and field.annotation is not str and all(type(item) is str for item in value):
        return json.dumps(value, ensure_ascii=False)
    return None


def _repeating(error: AdapterParseError) -> None:
    metrics.PARSE_RETRIES.inc()
    log.info("parse retry", extra={"fields": ", ".join(error.signature.output_fields)})


@contextmanager
def _published_when_parsed() -> Iterator[None]:
    with deferred() as pending:
        yield
        pending.commit()


def _varied(lm: Any, lm_kwargs: dict[str, Any]) -> dict[str, Any]:
    temperature = lm_kwargs.get("temperature", getattr(lm, "kwargs", {}).get("temperature")) or 0.0
    return {**lm_kwargs, "rollout_id": random.getrandbits(48), "temperature": max(temperature, RETRY_TEMPERATURE)}
