# SPDX-License-Identifier: Apache-2.0
"""`slipway simulate-provider` as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
from typer.testing import CliRunner

from slipway_server.cli.simulate_provider import command
from slipway_server.config import load_settings

MAIN = "from slipway_server.cli import main; main()"
START = [sys.executable, "-c", MAIN, "simulate-provider", "--port", "0", "--json"]


def test_prints_settings_that_a_server_takes_serves_and_stops(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    options = ["--rpm", "120", "--set", "quota=sliding", "--text", "Fine.", "--model", "m", "--ledger", str(ledger)]
    with subprocess.Popen([*START, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        settings = load_settings(environ=told["settings"])
        assert (settings.lm_model, settings.lm_base_url, settings.lm_rpm) == ("openai/m", told["base_url"], 120)
        ask = {"model": "m", "messages": [{"role": "user", "content": "Fine?"}]}
        answer = httpx.post(f"{told['base_url']}/chat/completions", json=ask, trust_env=False)
        assert answer.json()["choices"][0]["message"]["content"] == "Fine."
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert json.loads(ledger.read_text())["status"] == 200


def test_a_wrong_setting_is_one_line() -> None:
    result = CliRunner().invoke(command, ["--set", "speed=11"])
    assert "speed: unknown key" in str(result.exception)
