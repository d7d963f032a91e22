# SPDX-License-Identifier: Apache-2.0
"""Monitors and rules, read by the Prometheus operator's own types, and expressions by Prometheus' own parser."""

from __future__ import annotations

import subprocess

import pytest
from charts import SCENARIOS, TOOLS, Helm

CHECK = TOOLS / "operator-types"
pytestmark = pytest.mark.skipif(not CHECK.is_file(), reason="not built: run `make chart-tools`, which needs Go")
WITH_OBJECTS = {"everything": (2, 12), "external": (1, 0), "volume": (1, 0)}


def check(text: str) -> tuple[int, list[str], str]:
    """Exit code, mistakes, and what was checked."""
    done = subprocess.run([CHECK], input=text, capture_output=True, text=True, timeout=60)
    *mistakes, checked = done.stdout.splitlines()
    return done.returncode, mistakes, checked


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_they_are_taken(helm: Helm, scenario: str) -> None:
    objects, expressions = WITH_OBJECTS.get(scenario, (0, 0))
    assert check(helm.render(scenario)) == (0, [], f"checked {objects} objects, {expressions} expressions")


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ("for: 5m", "foor: 5m", 'unknown field "foor"'),
        ("path: /metrics", "pathh: /metrics", 'unknown field "pathh"'),
        ("interval: 30s", "interval: [30s]", "cannot unmarshal array"),
        ("histogram_quantile(", "histogram_quantil(", "unknown function"),
        ("sum by (le) (", "sum by (le (", "unexpected"),
    ],
)
def test_a_mistake_is_found(helm4: Helm, right: str, wrong: str, sentence: str) -> None:
    text = helm4.render("everything")
    assert right in text
    code, mistakes, _ = check(text.replace(right, wrong))
    assert code == 1
    assert any(sentence in one for one in mistakes), mistakes
