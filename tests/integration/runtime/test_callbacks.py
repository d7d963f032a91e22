# SPDX-License-Identifier: Apache-2.0
"""SLIPWAY_CALLBACKS adds DSPy callbacks to every run; a wrong one is named with its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import listeners
import pytest

from slipway_server import cache
from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.request import RequestContext
from slipway_server.runtime.service import open_service
from slipway_server.runtime.session import open_session

QUESTION = {"question": "In which year was Port Callow founded?"}
SettingsWith = Callable[..., Settings]


@pytest.mark.parametrize("program", ["programs:Plain", "programs:ForwardOnly"])
async def test_served_programs_report_to_them(settings_with: SettingsWith, serving: Any, program: str) -> None:
    async with serving(settings_with(program=program, callbacks="listeners:Counting")) as service:
        await service.predict(QUESTION, RequestContext())
    assert listeners.Counting.seen["lm"] == 1
    assert listeners.Counting.seen["module"] >= 1


def test_programs_outside_a_server_report_to_them_too(settings_with: SettingsWith) -> None:
    with open_session(settings_with(program="programs:Plain", callbacks=" listeners:Counting, ")) as session:
        session.new_program()(**QUESTION)
    assert listeners.Counting.seen["lm"] == 1


@pytest.mark.parametrize(
    ("callbacks", "why"),
    [
        ("listeners", "not of the form"),
        ("nosuch:Class", "module nosuch is not installed"),
        ("listeners:Nosuch", "has no Nosuch"),
        ("listeners:Needy", r"listeners:Needy\(\) failed with TypeError"),
    ],
)
async def test_a_wrong_one_is_named_with_its_key(
    settings_with: SettingsWith, callbacks: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "open_cache", _never)
    with pytest.raises(ConfigInvalid, match=f"^SLIPWAY_CALLBACKS: .*{why}") as caught:
        await open_service(settings_with(program="programs:Plain", callbacks=callbacks), OwnerLoop.of_running_loop())
    assert caught.value.metadata == {"key": "SLIPWAY_CALLBACKS"}


def _never(settings: Settings) -> None:
    raise AssertionError("nothing is opened for a configuration that cannot work")
