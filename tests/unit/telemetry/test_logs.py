# SPDX-License-Identifier: Apache-2.0
"""One event is one line, with its fields and the request that it belongs to, whoever logs it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from slipway_server import request
from slipway_server.request import RequestContext
from slipway_server.telemetry import logs


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    names = (None, "slipway_server", "lib")
    before = {name: (logger.handlers[:], logger.level) for name in names if (logger := logging.getLogger(name))}
    yield
    for name, (handlers, level) in before.items():
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).setLevel(level)


def event(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    [line] = capsys.readouterr().err.splitlines()
    found: dict[str, Any] = orjson.loads(line)
    return found


def test_json_has_the_fields_and_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    with request.opened(RequestContext("r1")):
        logging.getLogger("slipway_server.x").info("rpc", extra={"code": "OK", "waits": {"queue": 0.1}})
    found = event(capsys)
    assert found.pop("ts").endswith("+00:00")
    assert found == {
        "level": "info",
        "logger": "slipway_server.x",
        "event": "rpc",
        "code": "OK",
        "waits": {"queue": 0.1},
        "request_id": "r1",
    }


def test_a_traceback_stays_in_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    try:
        raise ValueError("of\ntwo lines")
    except ValueError:
        logging.getLogger("slipway_server.x").exception("failed")
    assert "ValueError: of\ntwo lines" in event(capsys)["error"]


@pytest.mark.parametrize(
    ("value", "shown"), [("cut \ud83d", "cut ?"), (10**30, 1e30), ({(1, 2): "a", "b": 10**30}, {"b": 1e30})]
)
def test_what_json_cannot_hold_costs_no_event(value: object, shown: object, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("slipway_server.x").warning("provider refused", extra={"provider_message": value})
    found = event(capsys)
    assert (found["event"], found["provider_message"]) == ("provider refused", shown)


def test_a_field_of_several_lines_is_one_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logging.getLogger("slipway_server.x").warning("refused", extra={"detail": "To fix:\n\n  - set the key"})
    err = capsys.readouterr().err
    assert err.endswith("warning refused detail=To fix: - set the key\n")
    assert err.count("\n") == 1


def test_a_librarys_own_handlers_give_way(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("lib")
    library.addHandler(logging.StreamHandler(sys.stderr))
    library.setLevel(logging.INFO)
    library.propagate = False
    logs.configure("info", "json")
    logs.adopt("lib")
    logging.getLogger("lib.module").info("chatter")
    logging.getLogger("lib.module").warning("careful")
    assert event(capsys)["event"] == "careful"
