# SPDX-License-Identifier: Apache-2.0
"""Scenario files, and behaviour by time on a clock of the test's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway_server.errors import ConfigInvalid
from slipway_server.simulate.config import Behaviour, SimulatorConfig, load_scenario
from slipway_server.simulate.state import State

STORM = """
seed = 7
keys = ["sk-a"]

[provider]
rpm = 600
burst_seconds = 6
latency_seconds = 0.4

[models."big"]
rpm = 60

[[step]]
name = "429 storm"
from_seconds = 60
for_seconds = 120
fault = "rate-limit"
retry_after = "missing"

[[step]]
from_seconds = 100
model = "big"
fault = "html"
"""


def test_a_scenario_file_says_what_holds_when(tmp_path: Path) -> None:
    path = tmp_path / "storm.toml"
    path.write_text(STORM)
    config = load_scenario(path)
    now = [0.0]
    state = State(config, clock=lambda: now[0])
    assert (config.seed, config.keys, state.behaviour("big").rpm) == (7, ("sk-a",), 60)
    seen = {}
    for now[0] in (0.0, 60.0, 179.9, 180.0):
        seen[now[0]] = (state.behaviour("small").fault, state.behaviour("big").fault)
    assert seen == {
        0.0: ("none", "none"),
        60.0: ("rate-limit", "rate-limit"),
        179.9: ("rate-limit", "html"),
        180.0: ("none", "html"),
    }
    assert state.behaviour("small").latency_seconds == 0.4


def test_json_says_the_same_and_adds_to_the_base(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"provider": {"fault": "reset"}, "step": [{"from_seconds": 1, "rpm": 5}]}))
    config = load_scenario(path, SimulatorConfig(behaviour=Behaviour(rpm=10), port=1234))
    assert (config.behaviour.fault, config.behaviour.rpm, config.port) == ("reset", 10, 1234)
    assert config.steps[0].changes == {"rpm": 5}


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("a.toml", "[provider]\nrpms = 3", "rpms"),
        ("a.toml", "[provider]\nrpm = 'fast'", "rpm"),
        ("a.toml", "[[step]]\nfault = 'html'", "from_seconds"),
        ("a.toml", "[[step]]\nfrom_seconds = 1\nfault = 'fire'", "fault"),
        ("a.toml", "[steps]\na = 1", "steps"),
        ("a.toml", "= 3", "neither"),
        ("a.json", "{", "neither"),
        ("a.json", "[]", "tables"),
        ("a.json", '{"models": {"m": 3}}', "wrong type"),
        ("a.json", '{"step": [3]}', "wrong type"),
        ("a.json", '{"keys": "sk-drill"}', "keys is a list"),
        ("a.toml", "keys = [1]", "keys is a list"),
        ("a.toml", "[provider]\nrpm = inf", "rpm: .*finite"),
    ],
)
def test_a_wrong_file_names_its_mistake(tmp_path: Path, name: str, text: str, named: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=named):
        load_scenario(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no scenario file"):
        load_scenario(tmp_path / "none.toml")


def test_latency_has_its_mean_in_every_shape() -> None:
    for shape in ("fixed", "uniform", "exponential", "lognormal"):
        behaviour = Behaviour(latency_seconds=2.0, latency=shape, latency_spread=0.5)
        state = State(SimulatorConfig(seed=1))
        mean = sum(state.latency(behaviour) for _ in range(4000)) / 4000
        assert mean == pytest.approx(2.0, rel=0.1), shape


def test_a_fault_ratio_is_a_ratio_and_repeats_with_the_seed() -> None:
    behaviour = Behaviour(fault="html", fault_ratio=0.25)
    runs = []
    for _ in range(2):
        state = State(SimulatorConfig(seed=3))
        runs.append([state.fault(behaviour) for _ in range(2000)])
    assert runs[0] == runs[1]
    assert 400 < runs[0].count("html") < 600


def test_a_changed_quota_starts_full_and_an_unchanged_one_stays() -> None:
    state = State(SimulatorConfig(behaviour=Behaviour(rpm=60, burst_seconds=1)), clock=lambda: 0.0)
    quota = state.quota("k", "m", state.behaviour("m"))
    assert quota.admit().admitted
    state.configure(None, {"latency_seconds": 1})
    assert not state.quota("k", "m", state.behaviour("m")).admit().admitted
    state.configure("m", {"rpm": 120})
    assert state.quota("k", "m", state.behaviour("m")).admit().admitted


def test_a_quota_may_start_partly_used() -> None:
    state = State(SimulatorConfig(behaviour=Behaviour(rpm=60, tpm=600, initial_fill=0.5)), clock=lambda: 0.0)
    levels = state.quota("k", "m", state.behaviour("m")).levels()
    assert (levels["requests"].remaining, levels["tokens"].remaining) == (30, 300)
