# SPDX-License-Identifier: Apache-2.0
"""A coroutine that is begun at once and awaited later behaves as if it had been awaited all along."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from slipway_server.serving.begun import Begun


class Wrong(Exception):
    pass


async def test_what_never_waits_is_done_at_once() -> None:
    async def quick() -> int:
        return 7

    begun = Begun(quick())
    assert (begun.done, begun.result) == (True, 7)


async def test_what_waits_goes_on_from_there() -> None:
    gate, steps = asyncio.Event(), []

    async def slow() -> str:
        steps.append("begun")
        await gate.wait()
        await asyncio.sleep(0)
        steps.append("awaited")
        return "answer"

    begun = Begun(slow())
    assert (begun.done, steps) == (False, ["begun"])
    asyncio.get_running_loop().call_soon(gate.set)
    assert await begun == "answer"
    assert steps == ["begun", "awaited"]


@pytest.mark.parametrize("waits", [False, True])
async def test_errors_come_out(waits: bool) -> None:
    async def failing() -> None:
        if waits:
            await asyncio.sleep(0)
        raise Wrong

    with pytest.raises(Wrong):
        await Begun(failing())


async def test_a_cancellation_reaches_what_it_waits_for_and_may_be_survived() -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def stubborn() -> str:
        try:
            await never
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # cleaning up may wait, too
            return "cleaned up"
        raise AssertionError

    async def waiting() -> Any:
        return await Begun(stubborn())

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cleaned up"
    assert never.cancelled()


async def test_timeouts_inside_and_around_it_hold() -> None:
    async def inner() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            await asyncio.get_running_loop().create_future()
        raise AssertionError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await Begun(inner())


async def test_it_is_closed_with_the_task_that_dropped_it() -> None:
    closed = []

    async def open_for_ever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(True)

    async def around() -> None:
        await Begun(open_for_ever())

    coroutine = around()
    coroutine.send(None)
    coroutine.close()
    assert closed == [True]


async def test_it_runs_in_its_callers_context() -> None:
    variable: ContextVar[str] = ContextVar("variable")

    async def reading() -> list[str]:
        seen = [variable.get()]
        await asyncio.sleep(0)
        return [*seen, variable.get()]

    variable.set("mine")
    assert await Begun(reading()) == ["mine", "mine"]


async def test_one_that_waits_on_when_it_is_closed_is_a_fault_as_without_it() -> None:
    loop = asyncio.get_running_loop()

    async def deaf() -> None:
        try:
            await loop.create_future()
        except GeneratorExit:
            await loop.create_future()

    async def around() -> None:
        await Begun(deaf())

    for awaiting in (deaf, around):
        coroutine = awaiting()
        coroutine.send(None)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            coroutine.close()
