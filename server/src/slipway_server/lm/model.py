# SPDX-License-Identifier: Apache-2.0
"""The LM that programs see: DSPy's own, on the governed engines.

    lm = SlipwayLM("openai/gpt-4o-mini", engine=sync, async_engine=asynchronous, temperature=0.0, max_tokens=1000)

Only `__call__` and `acall` are overridden (by the single flight, where one is plugged in): an override of `forward` or
`aforward` would lose DSPy's cache, history and error mapping.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import dspy


class Flight(Protocol):
    """Wraps `acall`, e.g. to join identical calls under way. `proceed` makes the call itself, once."""

    async def __call__(
        self,
        lm: SlipwayLM,
        proceed: Callable[[], Awaitable[Any]],
        *,
        prompt: Any,
        messages: Any,
        kwargs: dict[str, Any],
    ) -> Any:
        """The outputs of the call, from `proceed` or from elsewhere."""
        ...

    def blocking(
        self, lm: SlipwayLM, proceed: Callable[[], Any], *, prompt: Any, messages: Any, kwargs: dict[str, Any]
    ) -> Any:
        """The same for a synchronous call, in a thread that may wait."""
        ...


class SlipwayLM(dspy.LM):
    """dspy.LM on an engine pair; shared on deepcopy; makes no retries of its own, the engines do."""

    def __init__(
        self, model: str, *, engine: Any, async_engine: Any, flight: Flight | None = None, **settings: Any
    ) -> None:
        super().__init__(model, engine=engine, async_engine=async_engine, num_retries=0, **settings)
        self._flight = flight

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As dspy.LM.__call__, through the flight."""
        if self._flight is None:
            return super().__call__(prompt, messages=messages, **kwargs)

        def proceed() -> Any:
            return super(SlipwayLM, self).__call__(prompt, messages=messages, **kwargs)

        return self._flight.blocking(self, proceed, prompt=prompt, messages=messages, kwargs=kwargs)

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As dspy.LM.acall, through the flight."""
        if self._flight is None:
            return await super().acall(prompt, messages=messages, **kwargs)

        async def proceed() -> Any:
            return await super(SlipwayLM, self).acall(prompt, messages=messages, **kwargs)

        return await self._flight(self, proceed, prompt=prompt, messages=messages, kwargs=kwargs)

    def with_flight(self, flight: Flight) -> SlipwayLM:
        """This LM with another flight around its calls."""
        other = copy.copy(self)
        other._flight = flight
        return other

    def dump_state(self) -> dict[str, Any]:
        """Model and sampling parameters, as a plain dspy.LM: no engine, no address, no key."""
        return {
            "_dspy_lm_class": "dspy.clients.lm.LM",
            "model": self.model,
            "model_type": self.model_type,
            "cache": self.cache,
            "num_retries": 0,
            **{name: self.kwargs[name] for name in ("temperature", "max_tokens") if name in self.kwargs},
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> SlipwayLM:
        # Optimizers deep-copy programs; a second governor would double the rate.
        return self
