# SPDX-License-Identifier: Apache-2.0
"""An LM over real HTTP to the simulated provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import dspy
import pytest

from slipway_server.config import Settings, load_settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.errors import translate
from slipway_server.lm.stack import LMStack, open_stack
from slipway_server.simulate import Behaviour, Provider, SimulatorConfig

MODEL = "openai/simulated"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider without limits; `provider.configure(…)` changes it."""
    async with Provider(SimulatorConfig(behaviour=Behaviour(answer="text", text="[[ ## answer ## ]]\nParis"))) as it:
        yield it


@pytest.fixture
def settings_for(provider: Provider) -> Callable[..., Settings]:
    """Settings of an LM at the provider."""

    def make(**overrides: Any) -> Settings:
        values = {
            "lm_model": MODEL,
            "lm_base_url": provider.base_url,
            "lm_api_key": "test-key",
            "lm_max_attempts": 2,
            "cache": "off",
            **overrides,
        }
        return load_settings(values, environ={})

    return make


@pytest.fixture
async def open_lm(settings_for: Callable[..., Settings]) -> AsyncIterator[Callable[..., Awaitable[LMStack]]]:
    """`await open_lm(lm_rpm=60)`: an LM on this test's loop."""
    stacks: list[LMStack] = []

    async def open_it(**overrides: Any) -> LMStack:
        stack = await open_stack(settings_for(**overrides), owner=OwnerLoop.of_running_loop())
        stacks.append(stack)
        return stack

    yield open_it
    for stack in stacks:
        await stack.aclose()


@pytest.fixture
def requests_seen(provider: Provider) -> Callable[[int], Awaitable[int]]:
    """`await requests_seen(2)`: requests in the ledger, which writes an aborted one down a moment after its end."""

    async def wait(expected: int) -> int:
        for _ in range(100):
            if len(provider.ledger.entries) >= expected:
                break
            await asyncio.sleep(0.01)
        return len(provider.ledger.entries)

    return wait


@pytest.fixture
def ask() -> Callable[[LMStack], Awaitable[str]]:
    """Run a program on the LM; what fails is raised as the catalogue's error."""

    async def run(stack: LMStack) -> str:
        program = dspy.Predict("question -> answer")
        try:
            with dspy.context(lm=stack.lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
                prediction = await program.acall(question="What is the capital of France?")
        except Exception as error:
            raise (translate(error) or error) from error
        return str(prediction.answer)

    return run
