# SPDX-License-Identifier: Apache-2.0
"""`slipway serve` as a real process, with the reference program."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from artifact_drafts import compiled, draft

from slipway_client import AsyncSlipwayClient
from slipway_server.artifacts import save
from slipway_server.programs.rag import RAG
from slipway_server.simulate import Provider, SimulatorConfig

SLIPWAY = str(Path(sys.executable).with_name("slipway"))


@pytest.fixture
def environ(isles: Path, tmp_path: Path) -> dict[str, str]:
    own = {
        "SLIPWAY_DATA_DIR": str(isles),
        "SLIPWAY_COLLECTION": "isles",
        "SLIPWAY_SCRATCH_DIR": str(tmp_path),
        "SLIPWAY_GRPC_PORT": "0",
        "SLIPWAY_METRICS_PORT": "0",
        "SLIPWAY_DRAIN_SECONDS": "0.2",
        "SLIPWAY_LOG_FORMAT": "json",
        "DSPY_CACHEDIR": str(tmp_path / "cache"),
    }
    return os.environ | own


@asynccontextmanager
async def serving(environ: dict[str, str], *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        SLIPWAY, "serve", *options, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(100):
        facts: dict[str, Any] = json.loads(await process.stdout.readline())
    return facts


async def test_sigterm_under_load_loses_nothing_and_logs_every_request(environ: dict[str, str]) -> None:
    async with Provider(SimulatorConfig()) as provider:
        provider.configure(latency_seconds=1.0)
        lm = {"SLIPWAY_LM_MODEL": "openai/test", "SLIPWAY_LM_BASE_URL": provider.base_url, "SLIPWAY_LM_API_KEY": "k"}
        async with serving(environ | lm, "--allow-uncompiled", "--json") as process:
            facts = await ready(process)
            async with AsyncSlipwayClient(facts["target"]) as client:
                calls = [asyncio.create_task(client.ask(f"Who founded port {n}?")) for n in range(20)]
                async with asyncio.timeout(30):
                    while provider.in_flight < 20:
                        await asyncio.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                answers = await asyncio.gather(*calls)
            _, stderr = await process.communicate()
    events = [json.loads(line) for line in stderr.decode().splitlines()]
    logged = {event["request_id"] for event in events if event["event"] == "rpc"}
    assert process.returncode == 0
    assert facts["language_model"] is True
    assert {answer.receipt.request_id for answer in answers} == logged
    assert events[-1]["event"] == "stopped"


async def test_it_says_what_it_serves_and_that_the_reader_is_no_model(environ: dict[str, str]) -> None:
    async with serving(environ, "--allow-uncompiled") as process:
        assert process.stdout is not None
        async with asyncio.timeout(100):
            shown = b"".join([await process.stdout.readline() for _ in range(8)]).decode()
    for expected in (
        "serving slipway_server.programs.rag:RAG",
        "none: uncompiled",
        "offline/extractive",
        "no language model",
        "isles-",
    ):
        assert expected in shown


REFUSED = [
    pytest.param({}, (), "no artifact is named", id="no artifact"),
    pytest.param({}, ("--artifact", "missing.json"), "missing.json", id="artifact missing"),
    pytest.param({}, ("--program", "nowhere:Nothing", "--allow-uncompiled"), "nowhere", id="unknown program"),
    pytest.param({"SLIPWAY_COLLECTION": "nothing"}, ("--allow-uncompiled",), "nothing", id="collection missing"),
    pytest.param({"SLIPWAY_PROT": "1"}, (), "SLIPWAY_PROT: unknown configuration key", id="unknown key"),
    pytest.param(
        {}, ("--artifact", "TRUNCATED"), ".json: is not a JSON object, or is truncated", id="artifact truncated"
    ),
    pytest.param(
        {"SLIPWAY_EMBEDDING_MODEL": "offline/hashing"},
        ("--allow-uncompiled",),
        "was made with offline/fused-2 (1024 dimensions), configured is offline/hashing",
        id="collection of another embedder",
    ),
    pytest.param(
        {"SLIPWAY_LM_MODEL": "openai/x", "SLIPWAY_LM_API_KEY_FILE": "no.key", "SLIPWAY_LM_BASE_URL": "PROVIDER"},
        ("--allow-uncompiled",),
        "SLIPWAY_LM_API_KEY_FILE: no.key cannot be read",
        id="key file missing",
    ),
    pytest.param(
        {"SLIPWAY_LM_MODEL": "openai/x", "SLIPWAY_LM_API_KEY": "wrong", "SLIPWAY_LM_BASE_URL": "PROVIDER"},
        ("--allow-uncompiled",),
        "key",
        id="key refused at the dry run",
    ),
    pytest.param(
        {
            "SLIPWAY_LM_MODEL": "openai/x",
            "SLIPWAY_LM_API_KEY": "k",
            "SLIPWAY_LM_BASE_URL": "http://127.0.0.1:1/v1",
            "SLIPWAY_DRY_RUN_SECONDS": "0.5",
        },
        ("--allow-uncompiled",),
        "says nothing about the artifact",
        id="provider away at the dry run",
    ),
]


@pytest.fixture
def truncated(tmp_path: Path) -> Path:
    """An artifact of which only the beginning has arrived."""
    artifact = save(compiled(RAG()), draft("slipway_server.programs.rag:RAG"), tmp_path)
    artifact.write_bytes(artifact.read_bytes()[:300])
    return artifact


@pytest.mark.parametrize(("changes", "options", "expected"), REFUSED)
async def test_what_cannot_be_served_ends_with_one_line(
    environ: dict[str, str], changes: dict[str, str], options: tuple[str, ...], expected: str, truncated: Path
) -> None:
    options = tuple(str(truncated) if option == "TRUNCATED" else option for option in options)
    async with Provider(SimulatorConfig(keys=("right",))) as provider:
        changes = {key: provider.base_url if value == "PROVIDER" else value for key, value in changes.items()}
        async with serving(environ | changes, *options) as process, asyncio.timeout(100):
            _, stderr = await process.communicate()
    lines = [line for line in stderr.decode().splitlines() if not line.startswith("{")]
    assert process.returncode == 2
    assert len(lines) == 1
    assert lines[0].startswith("slipway: ")
    assert expected in lines[0]
    assert "Traceback" not in stderr.decode()
