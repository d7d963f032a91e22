# SPDX-License-Identifier: Apache-2.0
"""Formats of the provider's headers."""

from __future__ import annotations

import math

import pytest

from slipway_server.simulate.config import Behaviour
from slipway_server.simulate.wire import duration, retry_after_headers


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0095, "10ms"), (0.012, "12ms"), (1, "1s"), (1.25, "1.25s"), (60, "1m0s"), (360, "6m0s")],
)
def test_durations_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_hour() -> None:
    assert duration(3661.5) == "1h1m1.5s"


def test_no_advice_where_waiting_never_helps() -> None:
    assert retry_after_headers(Behaviour(), math.inf) == {}
