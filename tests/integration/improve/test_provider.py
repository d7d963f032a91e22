# SPDX-License-Identifier: Apache-2.0
"""Compiling against a provider over HTTP: what is asked again, what an outage does, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from compiling import compiled, plan

from slipway_server.config import Settings
from slipway_server.errors import ProviderAuth, RunVoid
from slipway_server.improve.compile import compile_program
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.runtime.session import open_session
from slipway_server.simulate import Behaviour, Provider, SimulatorConfig

DEV, WARM_UP = 42, 1
COMPARISON = 2 * (DEV + WARM_UP)
"""Calls of the two evaluations, which never come from the cache."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    """On a loop of its own: compiling is synchronous."""
    running = Provider(SimulatorConfig(behaviour=Behaviour(answer="reader")))
    with OwnerLoop.in_thread() as loop:
        loop.run(running.__aenter__())
        yield running
        loop.run(running.__aexit__(None, None, None))


@pytest.fixture
def settings(settings_with: Callable[..., Settings], provider: Provider) -> Settings:
    return settings_with(
        program="programs:TutorialRAG",
        lm_model="openai/test",
        lm_base_url=provider.base_url,
        lm_api_key="k",
        lm_prices="1:2",
        lm_max_attempts=1,
    )


def test_a_second_start_pays_for_the_comparison_only(settings: Settings, provider: Provider, tmp_path: Path) -> None:
    first = compiled(settings, tmp_path / "a")
    asked = len(provider.ledger.entries)
    assert asked == COMPARISON + first.runs
    second = compiled(settings, tmp_path / "b")
    assert second.runs == first.runs
    assert len(provider.ledger.entries) - asked == COMPARISON
    assert second.path.read_bytes() == first.path.read_bytes()


def test_tokens_and_cost_are_those_of_the_provider(settings: Settings, provider: Provider, tmp_path: Path) -> None:
    outcome = compiled(settings, tmp_path)
    entries = list(provider.ledger.entries)[-DEV:]
    assert outcome.compiled.prompt_tokens == pytest.approx(sum(entry.input_tokens for entry in entries) / DEV)
    cost = sum(entry.input_tokens * 1e-6 + entry.output_tokens * 2e-6 for entry in entries) / DEV
    assert outcome.compiled.cost_usd == pytest.approx(cost)
    assert outcome.manifest.compiled is not None
    assert outcome.manifest.compiled.cost_usd == outcome.compiled.cost_usd


@pytest.mark.parametrize("stage", ["uncompiled", "bootstrap-random-search", "compiled"])
def test_an_outage_at_any_stage_makes_it_void_and_writes_nothing(
    stage: str, settings: Settings, provider: Provider, tmp_path: Path
) -> None:
    def fail_from(reached: str, done: int, total: int | None) -> None:
        if reached == stage and done == 3:
            provider.configure(fault="server-error")

    search: dict[str, Any] = {"optimizer": "bootstrap-random-search", "settings": {"num_candidate_programs": 1}}
    search["settings"] |= {"max_labeled_demos": 4, "metric_threshold": 0.5}
    with open_session(settings) as session:
        work = plan(session.new_program(), tmp_path, **search)
        with pytest.raises(RunVoid, match="infrastructure reasons"):
            compile_program(session, work, fail_from)
    assert not work.out.exists()


def test_a_refused_key_ends_it_at_the_first_call(settings: Settings, provider: Provider, tmp_path: Path) -> None:
    provider.configure(fault="auth")
    with open_session(settings) as session, pytest.raises(ProviderAuth):
        compile_program(session, plan(session.new_program(), tmp_path))
    assert len(provider.ledger.entries) == 1
