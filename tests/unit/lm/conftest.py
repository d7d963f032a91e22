# SPDX-License-Identifier: Apache-2.0
"""Virtual time for asyncio, a backend to govern, and the virtual-time simulator of bench/pacing.py."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import selectors
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest
from dspy import lm15

from slipway_server import request
from slipway_server.lm.governor import Governor, GovernorConfig
from slipway_server.lm.pacing.types import Pacer, Unpaced
from slipway_server.request import RequestContext, TrafficClass

T = TypeVar("T")


class _Jump(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Instead of waiting, moves the loop's clock to the next timer."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("nothing will ever happen: the test would hang")
        self.loop.seconds += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` costs no time. No threads, no network."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        selector = _Jump()
        super().__init__(selector)
        selector.loop = self
        self.slow_callback_duration = 1e9

    def time(self) -> float:
        return self.seconds


def run_virtual(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `make()` on a loop of its own in virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(make())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.fixture(scope="session")
def virtual() -> Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]:
    """`virtual(main)` runs `main()` in virtual time."""
    return run_virtual


def response(text: str = "Fine.") -> lm15.Response:
    return lm15.Response(
        id=None,
        model="m",
        message=lm15.Message.assistant(text),
        finish_reason="stop",
        usage=lm15.Usage(input_tokens=10, output_tokens=5),
    )


class ScriptedBackend:
    """Answers after `seconds`, or raises the next error of `errors`; remembers when it was called."""

    def __init__(self, errors: list[BaseException | None] | None = None, seconds: float = 1.0) -> None:
        self.errors = errors or []
        self.seconds = seconds
        self.sent_at: list[float] = []
        self.active = 0
        self.peak = 0
        self.cancelled = 0

    async def complete(self, request: lm15.Request) -> lm15.Response:
        self.sent_at.append(asyncio.get_running_loop().time())
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            await asyncio.sleep(self.seconds)
            error = self.errors.pop(0) if self.errors else None
            if error is not None:
                raise error
            return response()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.active -= 1

    async def stream(self, request: lm15.Request) -> AsyncIterator[lm15.StreamEvent]:
        answer = await self.complete(request)
        for event in lm15.response_to_events(answer):
            yield event

    async def aclose(self) -> None:
        """Nothing to close."""


class Bench:
    """A governor in virtual time. `await bench.ask(deadline=3)` makes a call as a request would."""

    def __init__(self, backend: ScriptedBackend, pacer: Pacer | None = None, **config: Any) -> None:
        self.backend = backend
        self.loop = asyncio.get_running_loop()
        self.governor = Governor(
            GovernorConfig(model="test/m", **config),
            backend,
            pacer or Unpaced(),
            now=self.loop.time,
            rng=random.Random(7),
        )
        self.request = lm15.Request(model="test/m", messages=(lm15.Message.user("Hello?"),))
        self.contexts: list[RequestContext] = []

    async def ask(
        self, *, deadline: float | None = None, cls: TrafficClass = TrafficClass.INTERACTIVE
    ) -> lm15.Response:
        context = RequestContext(deadline=None if deadline is None else self.loop.time() + deadline, traffic_class=cls)
        self.contexts.append(context)
        with request.opened(context):
            return await self.governor.complete(self.request)


@pytest.fixture(scope="session")
def scripted() -> type[ScriptedBackend]:
    """The backend class."""
    return ScriptedBackend


@pytest.fixture(scope="session")
def bench() -> type[Bench]:
    """The governor's bench class."""
    return Bench


@pytest.fixture(scope="session")
def pacing() -> ModuleType:
    """bench/pacing.py."""
    path = Path(__file__).parents[3] / "bench" / "pacing.py"
    spec = importlib.util.spec_from_file_location("bench_pacing", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
