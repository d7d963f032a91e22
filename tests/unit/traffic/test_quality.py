# SPDX-License-Identifier: Apache-2.0
"""Figures of the loop that are damaged are not shown, and cost the recorder nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_server.telemetry import metrics
from slipway_server.traffic.quality import LATEST, show_quality


def age() -> float | None:
    return metrics.REGISTRY.get_sample_value("slipway_quality_age_seconds")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"time": "yesterday"}', '{"time": null}', '{"score": "high"}'])
def test_damaged_figures_are_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / LATEST).write_text('{"verdict": "HEALTHY", "time": 40.0}')
    show_quality(tmp_path, 83.0)
    (tmp_path / LATEST).write_text(text)
    show_quality(tmp_path, 200.0)
    assert age() == 43.0


def test_without_figures_nothing_is_shown_anew(tmp_path: Path) -> None:
    before = age()
    show_quality(tmp_path / "nowhere", 100.0)
    assert age() == before
