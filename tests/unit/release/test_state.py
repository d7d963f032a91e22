# SPDX-License-Identifier: Apache-2.0
"""What the values of a release say: artifacts, settings, and what differs between two revisions."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from slipway_server.artifacts import manifest_path
from slipway_server.config import load_settings
from slipway_server.errors import ConfigInvalid
from slipway_server.release import Given, State
from slipway_server.release.state import changed_values

MANIFEST = json.dumps({"digest": "ab" * 32})


def test_an_artifact_s_files_are_those_that_were_given(tmp_path: Path) -> None:
    packed = base64.b64encode(gzip.compress(b'{"a": 1}')).decode()
    for values in ({"state": '{"a": 1}'}, {"stateGz": packed}):
        path = Given.of("v1", {**values, "manifest": MANIFEST, "name": "rag-1"}).write(tmp_path)
        assert path == tmp_path / "rag-1.json"
        assert path.read_bytes() == b'{"a": 1}'
        assert manifest_path(path).read_text(encoding="utf-8") == MANIFEST
    assert Given.of("v1", {"existingConfigMap": "x", "digest": "cd"}).write(tmp_path) is None


def test_a_digest_is_stated_or_the_manifest_s() -> None:
    assert Given.of("v1", {"state": "{}", "manifest": MANIFEST}).digest == "ab" * 32
    assert Given.of("v1", {"path": "x.json", "digest": "cd"}).digest == "cd"
    assert Given.of("v1", {"path": "x.json"}).digest == ""


def test_settings_are_the_release_s_where_it_says_something() -> None:
    values = {
        "program": {"path": "mine:RAG"},
        "lm": {"model": "openai/x", "rpm": None},
        "retrieval": {"k": 5.0},
        "config": {
            "SLIPWAY_LM_MAX_TOKENS": 1000000.0,
            "SLIPWAY_CACHE_ANSWERS": True,
            "SLIPWAY_ARTIFACT_PUBLIC_KEY_FILE": "/in/the/pod.pem",
        },
    }
    overrides, config = State.of(values).settings()
    settings = load_settings(overrides, environ=config)
    assert (settings.program, settings.lm_model, settings.retrieval_k) == ("mine:RAG", "openai/x", 5)
    assert (settings.lm_max_tokens, settings.cache_answers) == (1_000_000, True)
    assert "SLIPWAY_ARTIFACT_PUBLIC_KEY_FILE" not in config, "a file that is in the pods only"


def test_removed_artifacts_are_none_and_another_chart_s_release_is_refused() -> None:
    state = State.of({"artifacts": {"v0": None}, "variants": {"stable": {"artifact": "v0"}}})
    assert (dict(state.artifacts), state.stable) == ({}, None)
    with pytest.raises(ConfigInvalid, match="none of this chart's"):
        state.required_stable()


def test_values_that_differ_are_named_by_their_path() -> None:
    before = {"serving": {"replicas": 2, "reflection": True}, "lm": {"rpm": 5}}
    after = {"serving": {"replicas": 3, "reflection": True}, "traffic": {"enabled": True}}
    assert changed_values(before, after) == ["lm", "serving.replicas", "traffic"]


@pytest.mark.parametrize(
    "values",
    [
        {"artifacts": ["a", "b"]},
        {"artifacts": {"v1": {"manifest": "{"}}, "variants": {"stable": {"artifact": "v1"}}},
        {"variants": ["stable"]},
        {"variants": {"candidate": {"weight": "ten"}}},
    ],
)
def test_values_of_another_chart_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid, match="none of this chart's"):
        State.of(values).required_stable()
