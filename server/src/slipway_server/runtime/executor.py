# SPDX-License-Identifier: Apache-2.0
"""The event loop's default executor: a wide pool, and no thread for DSPy's own short steps.

DSPy sends four steps of every LM call through asyncio.to_thread (prepare, look-up, price, store), because its stock
cache blocks. Ours does not (cache/flight.py has read the volume before DSPy asks), so those steps run where they are,
and without a turn of the loop, which every other request under way would have before; a thread hop costs several times
what they do. Whatever else comes through asyncio.to_thread gets a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar, cast

from dspy.clients import execution

from slipway_server.lm.model import SlipwayLM

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 64
"""The loop's own default is 6 on two cores, and a user's blocking code may hold any of them."""

SHORT_STEPS = frozenset({execution.prepare, execution._cached, execution._store, execution._price_result})


class DspyExecutor(ThreadPoolExecutor):
    """For `loop.set_default_executor`; uvloop and asyncio accept ThreadPoolExecutors only."""

    def __init__(self) -> None:
        super().__init__(THREADS, "slipway-default")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run one of DSPy's short steps at once, anything else in a thread.

        What is done at once is a future of the loop that asks: `run_in_executor` leaves it as it is, and to await it
        takes no turn of the loop.
        """
        if not _is_short_step(fn):
            return super().submit(fn, *args, **kwargs)
        done: Any = asyncio.get_running_loop().create_future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return cast("Future[T]", done)


def _is_short_step(call: Any) -> bool:
    """Whether this is asyncio.to_thread's partial(context.run, step, lm, …) for an LM of ours.

    Another LM that a program brings along has no single flight above it: its look-up would read the volume here.
    """
    arguments: tuple[Any, ...] = getattr(call, "args", ())
    return len(arguments) > 1 and isinstance(arguments[1], SlipwayLM) and arguments[0] in SHORT_STEPS
