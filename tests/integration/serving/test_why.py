# SPDX-License-Identifier: Apache-2.0
"""`slipway why` over the logs of a real server: what happened to a request is what is told."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from slipway_client import AsyncSlipwayClient, SlipwayClientError
from slipway_server.simulate import Provider, SimulatorConfig

SLIPWAY = str(Path(sys.executable).with_name("slipway"))
GOOD = "[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\n1794\n\n[[ ## completed ## ]]"


async def told(*words: str, log: Path) -> tuple[int, str]:
    """`slipway why …` with the log on its standard input: exit code and output."""
    with log.open("rb") as stream:
        process = await asyncio.create_subprocess_exec(
            SLIPWAY, "why", *words, stdin=stream, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_the_story_of_a_request(isles: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    async with Provider(SimulatorConfig()) as provider:
        environ = os.environ | {
            "SLIPWAY_DATA_DIR": str(isles),
            "SLIPWAY_COLLECTION": "isles",
            "SLIPWAY_SCRATCH_DIR": str(tmp_path),
            "SLIPWAY_GRPC_PORT": "0",
            "SLIPWAY_METRICS_PORT": "0",
            "SLIPWAY_DRAIN_SECONDS": "0.2",
            "SLIPWAY_LOG_FORMAT": "json",
            "SLIPWAY_LOG_LEVEL": "debug",
            "SLIPWAY_LM_MODEL": "openai/test",
            "SLIPWAY_LM_BASE_URL": provider.base_url,
            "SLIPWAY_LM_API_KEY": "k",
            "SLIPWAY_LM_MAX_ATTEMPTS": "2",
            "DSPY_CACHEDIR": str(tmp_path / "cache"),
        }
        with log.open("wb") as stderr:
            server = await asyncio.create_subprocess_exec(
                SLIPWAY,
                "serve",
                "--allow-uncompiled",
                "--json",
                env=environ,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        try:
            assert server.stdout is not None
            async with asyncio.timeout(60):
                target = json.loads(await server.stdout.readline())["target"]
            async with AsyncSlipwayClient(target) as client:
                provider.configure(answer="script", script=(GOOD, "no fields at all"))  # the dry run had the first
                await client.ask("When was Port Callow founded?", request_id="unparseable-first")
                provider.configure(fault="server-error")
                with pytest.raises(SlipwayClientError):
                    await client.ask("Who founded Port Callow?", request_id="provider-away", deadline_seconds=5)
        finally:
            server.terminate()
            await server.communicate()

    code, out = await told("unparseable-first", "--json", log=log)
    assert code == 0
    [story] = json.loads(out)
    steps = [step["event"] for step in story["steps"]]
    assert (story["code"], steps[-1]) == ("OK", "rpc")
    assert story["shares_seconds"].keys() == {"the LM", "retrieval", "program and server"}
    assert sum(story["shares_seconds"].values()) == pytest.approx(story["seconds"], rel=0.1)
    assert steps == ["retrieval", "cache", "lm attempt", "parse retry", "cache", "lm attempt", "rpc"]
    usual = {"retrieval", "cache", "lm attempt"}
    assert {step["level"] for step in story["steps"] if step["event"] in usual} == {"debug"}

    code, out = await told("provider-away", "-", log=log)
    assert code == 0
    assert "UNAVAILABLE after" in out.splitlines()[0]
    assert out.count("server after") == 2
    assert "before the next attempt" in out
    assert "variant stable" in out
    assert "PROVIDER_UNAVAILABLE" in out
    assert "no LM" not in out

    code, out = await told("nobody", log=log)
    assert (code, out) == (1, "slipway: no event of request nobody in these logs\n")
    assert (await told("x", "nosuch.log", log=log))[0] == 2
