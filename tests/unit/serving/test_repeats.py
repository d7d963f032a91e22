# SPDX-License-Identifier: Apache-2.0
"""Requests that come again: what is kept, what is asked anew, and that nothing of them is read meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.rag.v1 import rag_pb2
from slipway_server import request as request_scope
from slipway_server.errors import InputTooLarge, RequestInvalid
from slipway_server.request import RequestContext
from slipway_server.serving.reading import Received
from slipway_server.serving.repeats import MAX_REQUEST_BYTES, Repeats, Reply

ASK = "slipway.rag.v1.RagService/Ask"


class Method:
    """A method behind `Repeats`. `memory`: the answer is there still. `remembered`: it can be had again at all."""

    def __init__(self, repeats: Repeats) -> None:
        self.memory = self.remembered = True
        self.asked: list[bytes] = []
        self.read: list[bytes] = []
        self._repeats = repeats
        self._behaviour = repeats.around(ASK, self._inner)

    async def _inner(self, received: Received, context: Any) -> Reply:
        self.asked.append(received.data)
        assert isinstance(received.message, rag_pb2.AskRequest)
        return Reply(b"first", self._again if self.remembered else None)

    def _again(self, context: RequestContext) -> bytes | None:
        return f"again for {context.request_id}".encode() if self.memory else None

    def _parse(self, data: bytes) -> rag_pb2.AskRequest:
        self.read.append(data)
        return rag_pb2.AskRequest.FromString(data)

    async def call(self, made_id: str = "r", **fields: str) -> bytes:
        data = rag_pb2.AskRequest(**fields).SerializeToString()
        received = Received(data, self._parse, 4096, self._repeats.find(ASK, data))
        with request_scope.opened(RequestContext(received.request_id or made_id)):
            response: bytes = await self._behaviour(received, None)
        return response


async def test_a_repeated_request_is_answered_unread_for_its_own_caller() -> None:
    method = Method(Repeats())
    assert [await method.call(name, question="q") for name in "abc"] == [b"first", b"again for b", b"again for c"]
    assert len(method.asked) == len(method.read) == 1


async def test_another_request_is_another_one() -> None:
    method = Method(Repeats())
    for fields in ({"question": "p"}, {"question": "p", "pin": "stable"}, {"question": "p", "routing_key": "u"}):
        assert await method.call(**fields) == b"first"


async def test_what_memory_lost_is_asked_as_if_for_the_first_time() -> None:
    method = Method(Repeats())
    await method.call(question="q")
    method.memory = False
    assert [await method.call(question="q") for _ in range(2)] == [b"first", b"first"]
    method.memory = True
    assert await method.call(question="q") == b"again for r"


async def test_only_remembered_answers_are_kept() -> None:
    method = Method(Repeats())
    method.remembered = False
    assert [await method.call(question="q") for _ in range(2)] == [b"first", b"first"]


async def test_a_request_with_its_own_id_keeps_it() -> None:
    """A client's second attempt is the same bytes: its answer must not come under another id."""
    method = Method(Repeats())
    assert [await method.call(question="q", request_id="mine") for _ in range(2)] == [b"first", b"first"]


async def test_the_least_recently_used_goes_first() -> None:
    method = Method(Repeats(max_requests=2))
    for question in ("p", "q", "p", "r"):
        await method.call(question=question)
    assert await method.call(question="p") == b"again for r"
    assert await method.call(question="q") == b"first"


async def test_long_requests_are_not_kept() -> None:
    method = Method(Repeats())
    shortest = MAX_REQUEST_BYTES - len(rag_pb2.AskRequest(question="q" * 1000).SerializeToString()) + 1000
    assert [await method.call(question="q" * shortest) for _ in range(2)] == [b"first", b"again for r"]
    assert [await method.call(question="q" * (shortest + 1)) for _ in range(2)] == [b"first", b"first"]


@pytest.mark.parametrize(("data", "error"), [(b"\xff", RequestInvalid), (b"x" * 4097, InputTooLarge)])
def test_what_cannot_be_read_has_no_id_and_a_typed_error(data: bytes, error: type[Exception]) -> None:
    received = Received(data, rag_pb2.AskRequest.FromString, 4096)
    assert received.request_id == ""
    with pytest.raises(error):
        _ = received.message
