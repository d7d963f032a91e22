# SPDX-License-Identifier: Apache-2.0
"""Crossing from threads and other loops to the owner loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest
from dspy import lm15

from slipway_server.errors import ProgramInvalid
from slipway_server.lm.bridge import Crossings, OwnerLoop
from slipway_server.lm.engines import AsyncEngine, Capabilities

NAME: ContextVar[str] = ContextVar("name", default="nobody")


async def who() -> tuple[str, int]:
    await asyncio.sleep(0)
    return NAME.get(), threading.get_ident()


def test_context_is_carried_over_and_the_work_is_done_there() -> None:
    token = NAME.set("caller")
    with OwnerLoop.in_thread() as owner:
        name, thread = owner.run(who())
        assert name == "caller"
        assert thread != threading.get_ident()
        assert asyncio.run(owner.arun(who())) == (name, thread)
    NAME.reset(token)


async def test_a_server_owns_its_loop_and_threads_reach_it() -> None:
    owner = OwnerLoop.of_running_loop()
    assert owner.is_current()
    assert await owner.arun(who()) == ("nobody", threading.get_ident())
    assert await asyncio.to_thread(lambda: owner.run(who())) == ("nobody", threading.get_ident())


async def test_waiting_on_the_own_loop_is_refused() -> None:
    owner = OwnerLoop.of_running_loop()
    with pytest.raises(ProgramInvalid, match="aforward"):
        owner.run(who())


def test_errors_come_back_and_a_timeout_cancels() -> None:
    ended = threading.Event()

    async def fail() -> None:
        raise KeyError("x")

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with OwnerLoop.in_thread() as owner:
        with pytest.raises(KeyError):
            owner.run(fail())
        with pytest.raises(TimeoutError):
            owner.run(hang(), timeout=0.01)
        assert ended.wait(2)


def test_items_of_an_asynchronous_iterator_and_its_end() -> None:
    closed = threading.Event()

    async def count() -> AsyncIterator[int]:
        try:
            for number in range(5):
                await asyncio.sleep(0)
                yield number
        finally:
            closed.set()

    with OwnerLoop.in_thread() as owner:
        assert list(owner.iterate(count())) == [0, 1, 2, 3, 4]
        closed.clear()
        for number in owner.iterate(count()):
            if number == 2:
                break
        assert closed.wait(2)


class Source:
    """Gives one item, then waits; ends slowly when it is cancelled, as closing a connection does."""

    def __init__(self) -> None:
        self.waits, self.ended = threading.Event(), threading.Event()

    async def stream(self, request: object = None) -> AsyncIterator[int]:
        try:
            yield 1
            self.waits.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            self.ended.set()


def test_a_cancelled_step_has_ended_before_its_iterator_is_closed() -> None:
    source, crossings, raised = Source(), Crossings(), []

    def read() -> None:
        with crossings.opened():
            try:
                list(owner.iterate(source.stream()))
            except BaseException as error:
                raised.append(type(error))

    with OwnerLoop.in_thread() as owner:
        reader = threading.Thread(target=read)
        reader.start()
        assert source.waits.wait(60)
        crossings.cancel()
        reader.join(60)
        assert source.ended.is_set()
    assert raised == [asyncio.CancelledError]


def test_cancelling_the_reader_of_a_stream_in_another_loop_is_no_error() -> None:
    source = Source()

    async def main() -> None:
        async def read() -> None:
            async for _ in AsyncEngine(source, owner, Capabilities()).stream(request):  # type: ignore[arg-type]
                pass

        reader = asyncio.create_task(read())
        assert await asyncio.to_thread(source.waits.wait, 60)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert source.ended.is_set()

    request = lm15.Request(model="m", messages=(lm15.Message.user("Hello?"),))
    with OwnerLoop.in_thread() as owner:
        asyncio.run(main())


def test_closing_ends_tasks_and_thread() -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    async def start() -> asyncio.Task[None]:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        return task

    before = threading.active_count()
    with OwnerLoop.in_thread() as owner:
        task = owner.run(start())
    assert cancelled.is_set()
    assert task.cancelled()
    assert owner.loop.is_closed()
    assert threading.active_count() == before
    owner.close()
