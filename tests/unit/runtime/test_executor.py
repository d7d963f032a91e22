# SPDX-License-Identifier: Apache-2.0
"""DSPy's short steps of our LM run where they are called; everything else that may block gets a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from slipway_server.lm.model import SlipwayLM
from slipway_server.runtime import executor
from slipway_server.runtime.executor import DspyExecutor

OURS = object.__new__(SlipwayLM)


def step(lm: Any) -> threading.Thread:
    return threading.current_thread()


def failing_step(lm: Any) -> None:
    raise ValueError("no prompt")


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[DspyExecutor]:
    monkeypatch.setattr(executor, "SHORT_STEPS", frozenset({step, failing_step}))
    with DspyExecutor() as made:
        yield made


@pytest.mark.parametrize(
    ("function", "argument", "here"),
    [(step, OURS, True), (step, object(), False), (lambda _: threading.current_thread(), OURS, False)],
)
async def test_where_it_runs(pool: DspyExecutor, function: Any, argument: Any, here: bool) -> None:
    asyncio.get_running_loop().set_default_executor(pool)
    assert (await asyncio.to_thread(function, argument) is threading.current_thread()) is here


async def test_a_short_step_takes_no_turn_of_the_loop(pool: DspyExecutor) -> None:
    loop, turns = asyncio.get_running_loop(), []
    loop.set_default_executor(pool)
    loop.call_soon(turns.append, "another request's")
    await asyncio.to_thread(step, OURS)
    assert turns == []
    await asyncio.to_thread(step, object())
    assert turns


async def test_what_a_step_raises_reaches_its_caller(pool: DspyExecutor) -> None:
    asyncio.get_running_loop().set_default_executor(pool)
    with pytest.raises(ValueError, match="no prompt"):
        await asyncio.to_thread(failing_step, OURS)
