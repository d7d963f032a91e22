# SPDX-License-Identifier: Apache-2.0
"""A program outside a server: for compiling, evaluating and notebooks. The governor's loop runs in a thread of its own.

with open_session(settings) as session:
    program = session.new_program()
    program(question="…")                       # synchronous calls cross the bridge to the governor
    session.run(program.acall(question="…"))    # or on the governor's loop itself
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import dspy

from slipway_server import request
from slipway_server.config import Settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.stack import LMStack
from slipway_server.request import TrafficClass
from slipway_server.runtime.imports import import_program
from slipway_server.runtime.invoke import Invoke, invoker, with_forward
from slipway_server.runtime.lazy import LazyRetriever
from slipway_server.runtime.stack import Stack, open_stack
from slipway_server.runtime.variants import new_program

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """An open program with its surroundings. `program_class` can be called from threads also with aforward only."""

    settings: Settings
    program_class: type[Any]
    stack: Stack
    pool: ThreadPoolExecutor

    @property
    def lm_stack(self) -> LMStack:
        """The LM and its governor."""
        return self.stack.lm

    @property
    def retriever(self) -> LazyRetriever:
        """The bound collection."""
        return self.stack.retriever

    def new_program(self) -> Any:
        """A fresh, uncompiled instance."""
        return new_program(self.program_class)

    def invoker(self, program: Any) -> Invoke:
        """`await invoke({"question": …})` on the owner loop, for any program."""
        return invoker(program, self.pool)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the owner loop, from this thread, with this thread's context."""
        return self.stack.owner.run(work)


@contextmanager
def open_session(settings: Settings, traffic_class: TrafficClass = TrafficClass.EVALUATION) -> Iterator[Session]:
    """Open program, LM, cache and retriever for this block; everything is closed at its end. Raises SlipwayError."""
    program_class = import_program(settings.program)
    with OwnerLoop.in_thread() as owner, ThreadPoolExecutor(settings.sync_workers, "slipway-program") as pool:
        stack = owner.run(open_stack(settings, owner))
        try:
            with (
                dspy.context(**stack.dspy_settings(memoise_prompts=False), allow_tool_async_sync_conversion=True),
                request.default_class(traffic_class),
            ):
                yield Session(settings, with_forward(program_class, owner), stack, pool)
        finally:
            owner.run(stack.aclose())
