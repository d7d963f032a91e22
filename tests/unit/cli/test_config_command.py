# SPDX-License-Identifier: Apache-2.0
"""`slipway config` shows every key with its meaning whole, however narrow the terminal, and no secret."""

from __future__ import annotations

import orjson
import pytest
from typer.testing import CliRunner

from slipway_server.cli.config import command
from slipway_server.config import Settings, env_key

SECRET = "sk-secret"


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("SLIPWAY_LM_API_KEY", SECRET)
    monkeypatch.setenv("SLIPWAY_ROUTING_SALT", "[red]s[/red]")


def test_every_key_is_shown_whole() -> None:
    shown = CliRunner().invoke(command, []).stdout
    lines = shown.splitlines()
    for name, field in Settings.model_fields.items():
        at = next(number for number, line in enumerate(lines) if line.split()[0] == env_key(name))
        assert lines[at + 1].strip() == field.description
    assert "SLIPWAY_ROUTING_SALT = [red]s[/red]  (environment)" in lines
    assert "SLIPWAY_LM_API_KEY = **********  (environment)" in lines
    assert "SLIPWAY_ARTIFACT is not set" in lines
    assert SECRET not in shown


def test_json_has_value_origin_and_meaning() -> None:
    rows = {row["key"]: row for row in orjson.loads(CliRunner().invoke(command, ["--json"]).stdout)}
    assert rows["SLIPWAY_ROUTING_SALT"]["value"] == "[red]s[/red]"
    assert rows["SLIPWAY_ROUTING_SALT"]["origin"] == "environment"
    assert rows["SLIPWAY_LM_API_KEY"]["value"] == "**********"
    assert all(row["description"] for row in rows.values())
