# SPDX-License-Identifier: Apache-2.0
"""DSPy's engine contract, governed: `dspy.LM(model, engine=SyncEngine(link), async_engine=AsyncEngine(link))`.

Both reach one governor on its owner loop, from whichever thread or loop they are called. DSPy reads capability flags
from the synchronous engine only. Saved programs keep no engine; copies of a program share it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from dspy import lm15

from slipway_server.errors import ConfigInvalid
from slipway_server.lm.bridge import END, OwnerLoop, Steps
from slipway_server.lm.governor import Governor


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the model can do, as far as adapters ask. Unknown counts as no."""

    supported_params: frozenset[str] = frozenset(
        {"temperature", "max_tokens", "top_p", "stop", "seed", "response_format", "tools", "tool_choice"}
    )
    supports_function_calling: bool = False
    supports_reasoning: bool = False
    supports_response_schema: bool = False


class _Engine:
    """What the two have in common."""

    def __init__(self, governor: Governor, owner: OwnerLoop, capabilities: Capabilities) -> None:
        self._governor = governor
        self._owner = owner
        self.supported_params = capabilities.supported_params
        self.supports_function_calling = capabilities.supports_function_calling
        self.supports_reasoning = capabilities.supports_reasoning
        self.supports_response_schema = capabilities.supports_response_schema

    def dump_state(self) -> dict[str, Any]:
        """Nothing: connection and key belong to the process, not to a program."""
        return {}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> Any:
        """Always ConfigInvalid: a saved program gets the LM of the process that loads it."""
        raise ConfigInvalid("a saved program carries no LM; set one with set_lm or dspy.context after loading")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # A copy would have a second limiter.
        return self


class SyncEngine(_Engine):
    """For `forward`-only programs and optimizers: waits for the owner loop. Raises ProgramInvalid on that loop."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer."""
        return self._owner.run(self._governor.complete(request))

    def stream(self, request: lm15.Request) -> Iterator[lm15.StreamEvent]:
        """One answer as events."""
        return self._owner.iterate(self._governor.stream(request))

    def close(self) -> None:
        """Nothing: the stack closes the governor."""


class AsyncEngine(_Engine):
    """For `aforward`: directly on the owner loop, across threads from any other loop."""

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer."""
        if self._owner.is_current():
            return await self._governor.complete(request)
        return await self._owner.arun(self._governor.complete(request))

    async def stream(self, request: lm15.Request) -> AsyncIterator[lm15.StreamEvent]:
        """One answer as events."""
        steps = Steps(self._governor.stream(request))
        try:
            while (event := await self._owner.arun(steps.next())) is not END:
                yield event
        finally:
            await self._owner.arun(steps.close())

    async def aclose(self) -> None:
        """Nothing: the stack closes the governor."""
