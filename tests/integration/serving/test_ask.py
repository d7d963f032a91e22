# SPDX-License-Identifier: Apache-2.0
"""`slipway ask` against a running server."""

from __future__ import annotations

import asyncio
import json

import pytest
from fake_service import FakeService
from typer.testing import CliRunner, Result

from slipway_server import errors
from slipway_server.cli.ask import command
from slipway_server.serving.server import Server


@pytest.fixture
async def server(serve, service: FakeService) -> Server:
    return await serve(service)


async def ask(server: Server, *arguments: str) -> Result:
    full = [*arguments, "--target", f"127.0.0.1:{server.grpc_port}"]
    return await asyncio.to_thread(CliRunner().invoke, command, full)


async def test_it_prints_answer_citations_and_receipt(server: Server) -> None:
    result = await ask(server, "who wrote [it]?")
    assert result.exit_code == 0
    for expected in ("echo who wrote [it]?", "it echoes", "A title", "rag-a (aaaaaaaaaaaa)", "no language model"):
        assert expected in result.stdout


async def test_json_has_everything(server: Server, service: FakeService) -> None:
    result = await ask(server, "why?", "--json", "--pin", "candidate", "--deadline", "5")
    answer = json.loads(result.stdout)
    assert (answer["answer"], answer["citations"][0]["title"]) == ("echo why?", "A title")
    assert answer["receipt"]["variant"] == "candidate"
    remaining = service.seen[-1][1].remaining_seconds()
    assert remaining is not None
    assert remaining < 5.1


async def test_other_programs_take_inputs_as_json(server: Server, service: FakeService) -> None:
    result = await ask(server, "--inputs", '{"text": "x", "k": 3}')
    assert result.exit_code == 0
    assert service.seen[-1][0] == {"text": "x", "k": 3}


async def test_an_error_is_one_line_and_exit_code_2(server: Server, service: FakeService) -> None:
    service.failing = [errors.PinUnknown("pin 'x' is not served", pin="x")]
    result = await ask(server, "why?", "--pin", "x")
    assert result.exit_code == 2
    assert result.stderr.startswith("slipway: pin 'x' is not served (PIN_UNKNOWN, request ")
    assert result.stderr.count("\n") == 1


async def test_it_says_where_no_server_answers(server: Server) -> None:
    await server.stop(drain=False)
    result = await ask(server, "why?")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"slipway: no server answers at 127.0.0.1:{server.grpc_port} (--target): ")


@pytest.mark.parametrize("inputs", ["[", "[1]"])
async def test_inputs_that_are_no_object_are_refused(server: Server, inputs: str) -> None:
    result = await ask(server, "--inputs", inputs)
    assert isinstance(result.exception, errors.InputWrongType)


async def test_a_question_beside_inputs_is_refused(server: Server, service: FakeService) -> None:
    """One of them would be ignored."""
    result = await ask(server, "why?", "--inputs", '{"question": "who?"}')
    assert isinstance(result.exception, errors.ConfigInvalid)
    assert not service.seen
