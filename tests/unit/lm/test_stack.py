# SPDX-License-Identifier: Apache-2.0
"""The LM of a process: what it refuses at start, what its copies and saved programs hold, and what it uses of DSPy."""

from __future__ import annotations

import copy
import inspect
import json
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy._vendor.lm15.providers.base import resolve_credential_value
from dspy._vendor.lm15.transports import StdlibAsyncTransport
from dspy.clients import execution
from dspy.clients.engines.lm15_engine import AsyncLM15Engine
from dspy.clients.errors import wrap_error

from slipway_server.config import load_settings
from slipway_server.errors import ConfigInvalid
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.engines import AsyncEngine, SyncEngine
from slipway_server.lm.model import SlipwayLM
from slipway_server.lm.stack import LMStack, make_pacer, open_stack


async def opened(flight: Any = None, **overrides: Any) -> LMStack:
    settings = load_settings({"cache": "off", **overrides}, environ={})
    return await open_stack(settings, owner=OwnerLoop.of_running_loop(), flight=flight)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({"lm_model": "no-such-provider/m"}, "SLIPWAY_LM_MODEL"),
        ({"lm_model": "openai/"}, "SLIPWAY_LM_MODEL"),
        ({"lm_model": "openai/gpt-5"}, "SLIPWAY_LM_MODEL"),
        ({"lm_prices": "cheap"}, "SLIPWAY_LM_PRICES"),
        ({"lm_prices": "-0.15:0.6"}, "SLIPWAY_LM_PRICES"),
        ({"lm_prices": "0.15:nan"}, "SLIPWAY_LM_PRICES"),
        ({"lm_prices": "inf:0.6"}, "SLIPWAY_LM_PRICES"),
        ({"lm_model": "openai/m", "lm_pacing": "fixed"}, "SLIPWAY_LM_PACING"),
        ({"lm_model": "openai/m", "lm_pacing": "share"}, "SLIPWAY_LM_PACING"),
    ],
)
async def test_a_wrong_configuration_is_refused_at_start(overrides: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigInvalid, match=key):
        await opened(**overrides)


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ({"lm_pacing": "auto"}, "off"),
        ({"lm_pacing": "auto", "lm_rpm": 60}, "fixed"),
        ({"lm_pacing": "fixed", "lm_tpm": 6000}, "fixed"),
        ({"lm_pacing": "share", "lm_rpm": 60}, "share"),
        ({"lm_pacing": "priced"}, "priced"),
        ({"lm_pacing": "off", "lm_rpm": 60}, "off"),
        ({"lm_pacing": "fixed", "lm_rpm": 60, "lm_model": "offline/extractive"}, "off"),
    ],
)
def test_the_pacer_that_is_asked_for(overrides: dict[str, Any], kind: str) -> None:
    settings = load_settings({"lm_model": "openai/m", **overrides}, environ={})
    assert make_pacer(settings).kind == kind


async def test_copies_share_engines_and_saved_programs_hold_no_secret(tmp_path: Path) -> None:
    stack = await opened(lm_model="openai/m", lm_api_key="sk-secret", lm_base_url="http://127.0.0.1:9/v1")
    lm = stack.lm
    assert copy.deepcopy(lm) is lm
    assert lm.copy(rollout_id=3, temperature=1.0).engine is lm.engine
    assert copy.deepcopy(lm.engine) is lm.engine
    program = dspy.Predict("question -> answer")
    program.set_lm(lm)
    assert program.deepcopy().lm is lm
    program.save(tmp_path / "program.json")
    saved = (tmp_path / "program.json").read_text()
    assert "secret" not in saved
    assert "127.0.0.1" not in saved
    assert json.loads(saved)["lm"]["model"] == "openai/m"
    fresh = dspy.Predict("question -> answer")
    fresh.load(tmp_path / "program.json")
    assert fresh.lm.engine == "auto"
    for engine in (lm.engine, AsyncEngine, SyncEngine):
        with pytest.raises(ConfigInvalid):
            engine.load_state({})
    await stack.aclose()


async def test_capabilities_are_read_from_the_synchronous_engine() -> None:
    stack = await opened(lm_model="openai/m")
    assert stack.lm.supports_response_schema
    assert "response_format" in stack.lm.supported_params
    assert not stack.lm.supports_reasoning
    own = await opened(lm_model="openai/m", lm_base_url="http://127.0.0.1:9/v1")
    assert not own.lm.supports_response_schema
    await stack.aclose()
    await own.aclose()


async def test_the_flight_wraps_calls() -> None:
    seen: list[Any] = []

    async def flight(lm: SlipwayLM, proceed: Any, *, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> Any:
        seen.append((lm.model, bool(messages), sorted(kwargs)))
        first = await proceed()
        assert first == await proceed()
        return first

    stack = await opened(flight)
    with dspy.context(lm=stack.lm, adapter=dspy.ChatAdapter()):
        answer = await dspy.Predict("question -> answer").acall(question="Who?")
    assert answer.answer
    assert [model for model, *_ in seen] == ["offline/extractive"]
    await stack.aclose()


def test_what_is_used_of_dspys_newer_modules() -> None:
    """Pins names and shapes that DSPy does not promise; a new version that changes one fails here first."""
    assert dspy.__version__ == "3.4.1"
    for name in ("complete", "stream", "aclose", "resolve"):
        assert hasattr(AsyncLM15Engine, name)
    assert inspect.iscoroutinefunction(AsyncLM15Engine.complete)
    assert {"api_keys", "base_urls", "transport", "env"} <= set(inspect.signature(dspy.lm15.RouterConfig).parameters)
    wanted = {"connect_timeout", "read_timeout", "max_connections", "user_agent"}
    assert wanted <= set(inspect.signature(StdlibAsyncTransport).parameters)
    assert resolve_credential_value(lambda: "key").value == "key"
    assert list(inspect.signature(dspy.LM.acall).parameters)[:3] == ["self", "prompt", "messages"]
    assert callable(execution.aexecute)
    assert set(dspy.lm15.RETRYABLE_ERRORS) == {
        dspy.lm15.RateLimitError,
        dspy.lm15.TimeoutError,
        dspy.lm15.ServerError,
        dspy.lm15.TransportError,
        dspy.lm15.LockTimeoutError,
    }
    wrapped = wrap_error(dspy.lm15.RateLimitError("x", retry_after=2.0), model="m")
    assert isinstance(wrapped, dspy.LMRateLimitError)
    assert wrapped.retry_after == 2.0
