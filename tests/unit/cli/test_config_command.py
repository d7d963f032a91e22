# SPDX-License-Identifier: Apache-2.0
"""`slipway config` shows every key whole, however narrow the terminal, and no secret."""

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


def test_the_table_has_every_key_whole() -> None:
    shown = CliRunner().invoke(command, []).stdout
    words = set(shown.split())
    assert {env_key(name) for name in Settings.model_fields} <= words
    assert "[red]s[/red]" in words
    assert SECRET not in shown


def test_json_has_value_origin_and_meaning() -> None:
    rows = {row["key"]: row for row in orjson.loads(CliRunner().invoke(command, ["--json"]).stdout)}
    assert rows["SLIPWAY_ROUTING_SALT"]["value"] == "[red]s[/red]"
    assert rows["SLIPWAY_ROUTING_SALT"]["origin"] == "environment"
    assert rows["SLIPWAY_LM_API_KEY"]["value"] == "**********"
    assert all(row["description"] for row in rows.values())
