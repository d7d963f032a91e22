# SPDX-License-Identifier: Apache-2.0
"""The callers and the reports of the cluster's tests, against a real server on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from cluster_load import SCRIPT, Call, Report, joined, parse

from slipway_server.simulate import Provider, SimulatorConfig

SLIPWAY = str(Path(sys.executable).with_name("slipway"))
BOUND_SECONDS = 60


@dataclass
class Place:
    """A server that asks a provider."""

    provider: Provider
    target: str


@pytest.fixture
async def place(isles: Path, tmp_path: Path) -> AsyncIterator[Place]:
    async with Provider(SimulatorConfig()) as provider:
        environ = os.environ | {
            "SLIPWAY_LM_MODEL": "openai/test",
            "SLIPWAY_LM_BASE_URL": provider.base_url,
            "SLIPWAY_LM_API_KEY": "k",
            "SLIPWAY_DATA_DIR": str(isles),
            "SLIPWAY_COLLECTION": "isles",
            "SLIPWAY_SCRATCH_DIR": str(tmp_path),
            "SLIPWAY_GRPC_PORT": "0",
            "SLIPWAY_METRICS_PORT": "0",
            "SLIPWAY_DRAIN_SECONDS": "0",
            "SLIPWAY_LOG_LEVEL": "error",
            "DSPY_CACHEDIR": str(tmp_path / "cache"),
        }
        async with started(SLIPWAY, "serve", "--allow-uncompiled", "--json", environ=environ) as server:
            yield Place(provider, json.loads(await line(server))["target"])


@asynccontextmanager
async def started(*command: str, environ: dict[str, str] | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(BOUND_SECONDS):
        return (await process.stdout.readline()).decode()


async def called(**plan: Any) -> str:
    async with started(sys.executable, str(SCRIPT), json.dumps(plan)) as process:
        async with asyncio.timeout(BOUND_SECONDS):
            printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


async def test_every_call_is_reported_as_receipts_and_ledger_have_it_and_a_failed_one_with_its_reason(
    place: Place,
) -> None:
    place.provider.reset()
    report = parse(await called(target=place.target, callers=4, calls=3, key="user-{caller}"))
    assert not report.failed
    assert report.count("server") == {socket.gethostname(): 12}
    assert report.count("variant") == {"stable": 12}
    assert report.count("cache") == {"miss": 12}
    assert report.count("key") == {f"user-{n}": 3 for n in range(4)}
    assert len(report.count("question")) == 12
    assert all(call.answer for call in report.calls)
    assert sum(call.attempts for call in report.calls) == place.provider.ledger.count(status=200)

    place.provider.configure(fault="billing")
    report = parse(await called(target=place.target, callers=2, calls=1, questions=["Who founded Ward Hill?"]))
    assert report.count("code") == {"FAILED_PRECONDITION": 2}
    assert set(report.count("reason")) == {"PROVIDER_BILLING"}
    assert report.failed == report.calls


async def test_it_ends_when_told_to_with_the_calls_under_way(place: Place) -> None:
    plan = {"target": place.target, "callers": 3, "questions": ["Who founded Ward Hill?"], "pause_seconds": 0.01}
    async with started(sys.executable, str(SCRIPT), json.dumps(plan)) as process:
        assert json.loads(await line(process)) == {"running": True}
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(BOUND_SECONDS):
            printed, _ = await process.communicate()
    report = parse(printed.decode())
    assert process.returncode == 0
    assert len(report.calls) >= 3
    assert not report.failed


def call(started: float, ended: float, **values: Any) -> Call:
    texts = {field.name: "" for field in fields(Call)} | {"code": "OK", "attempts": 1}
    return Call(**(texts | {"started": started, "ended": ended} | values))


def test_a_report_is_read_by_time_and_field() -> None:
    first = Report([call(0, 1, server="a"), call(1, 4, server="b"), call(3, 3.5, server="a")])
    second = Report([call(2, 3, server="b", code="UNAVAILABLE")])
    report = joined([first, second])
    assert [one.ended for one in report.calls] == [1, 3, 3.5, 4]
    assert report.count("server") == {"a": 2, "b": 2}
    assert [one.code for one in report.failed] == ["UNAVAILABLE"]
    assert [one.started for one in report.within(1, 3).calls] == [2, 1]
    assert [one.started for one in report.under_way(3.2).calls] == [3, 1]
    assert report.percentile_seconds(0.5) == 1
    assert report.percentile_seconds(1) == 3


def test_a_report_that_was_cut_is_refused() -> None:
    with pytest.raises(AssertionError, match="incomplete"):
        parse('{"running":true}\n{"strings":["OK"]}\n{"rows":[]}')
    with pytest.raises(AssertionError, match="incomplete"):
        parse('{"strings":[]}\n{"rows":[[1,2,0]]}\n{"done":2}')
