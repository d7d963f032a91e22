# SPDX-License-Identifier: Apache-2.0
"""Run any dspy.Module from the owner loop: natively where it has aforward, else on a bounded pool."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from slipway_server.lm.bridge import Crossings, OwnerLoop

Invoke = Callable[[dict[str, Any]], Awaitable[Any]]
"""Runs a program with keyword inputs and returns its prediction."""


def invoker(program: Any, pool: ThreadPoolExecutor) -> Invoke:
    """How `program` is run from a coroutine on the owner loop.

    A program with only `forward` holds one thread of `pool` per run; its LM calls cross the bridge to the owner loop,
    so they go through the same governor and cache. Cancelling such a run cancels the LM calls under way and refuses
    further ones; the thread itself is free once the program returns.
    """
    if hasattr(type(program), "aforward"):
        return lambda inputs: program.acall(**inputs)

    async def run_in_pool(inputs: dict[str, Any]) -> Any:
        crossings = Crossings()
        with crossings.opened():
            context = contextvars.copy_context()
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(program, **inputs))
        except asyncio.CancelledError:
            crossings.cancel()
            raise

    return run_in_pool


def with_forward(program_class: type[Any], owner: OwnerLoop) -> type[Any]:
    """`program_class`, made callable from threads (optimizers call programs synchronously) where it has only aforward.

    The bridge sits on a subclass rather than on the instance, because optimizers deep-copy instances.
    """
    if not hasattr(program_class, "aforward") or hasattr(program_class, "forward"):
        return program_class

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return owner.run(self.aforward(*args, **kwargs))

    names = {"__module__": program_class.__module__, "__qualname__": program_class.__qualname__}
    return type(
        program_class.__name__, (program_class,), {"forward": forward, "__doc__": program_class.__doc__, **names}
    )
