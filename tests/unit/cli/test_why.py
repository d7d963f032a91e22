# SPDX-License-Identifier: Apache-2.0
"""`slipway why` reads what a log has, whatever else is between its lines."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from slipway_server.cli.why import command


def test_bytes_that_are_no_text_are_passed_over() -> None:
    event = {"ts": "2026-11-21T12:00:00.000Z", "level": "info", "event": "rpc", "request_id": "r1", "seconds": 0.5}
    log = b"\xff\xfe\n" + json.dumps(event).encode() + b"\n"
    done = CliRunner().invoke(command, ["r1", "--json"], input=log, catch_exceptions=False)
    assert done.exit_code == 0
    assert [found["request_id"] for found in json.loads(done.stdout)] == ["r1"]


def test_a_request_that_no_log_knows_ends_with_1() -> None:
    done = CliRunner().invoke(command, ["r1"], input=b"", catch_exceptions=False)
    assert (done.exit_code, done.stderr) == (1, "slipway: no event of request r1 in these logs\n")
