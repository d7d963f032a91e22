# SPDX-License-Identifier: Apache-2.0
"""Which LM judges: the program's, or one of its own, whose key is never mixed with the program's."""

from __future__ import annotations

from pathlib import Path

from slipway_server.config import Settings, load_settings
from slipway_server.improve.judging import own_settings

FILE = Path("program.key")


def own(**judge: object) -> Settings | None:
    program = {"lm_model": "openai/small", "lm_base_url": "http://program/v1", "lm_api_key_file": FILE}
    return own_settings(load_settings({**program, **judge}, environ={}))


def test_without_one_of_its_own_it_shares_the_programs() -> None:
    assert own(judge_temperature=0.5) is None


def test_another_model_keeps_endpoint_and_key() -> None:
    judge = own(judge_model="openai/large", judge_temperature=0.5)
    assert judge is not None
    assert (judge.lm_model, judge.lm_base_url, judge.lm_temperature) == ("openai/large", "http://program/v1", 0.5)
    assert judge.lm_api_key_file == FILE


def test_a_key_of_its_own_replaces_the_programs_key_file() -> None:
    judge = own(judge_base_url="http://judge/v1", judge_api_key="sk-judge")
    assert judge is not None
    assert judge.lm_base_url == "http://judge/v1"
    assert judge.lm_api_key is not None
    assert judge.lm_api_key.get_secret_value() == "sk-judge"
    assert judge.lm_api_key_file is None
