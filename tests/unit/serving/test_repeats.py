# SPDX-License-Identifier: Apache-2.0
"""Requests that come again: what is kept, what is asked anew, and that nothing of them is read meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.rag.v1 import rag_pb2
from slipway_server.errors import InputTooLarge, RequestInvalid
from slipway_server.request import RequestContext
from slipway_server.serving import identity
from slipway_server.serving.reading import Received
from slipway_server.serving.repeats import MAX_REQUEST_BYTES, Repeats, Reply

ASK = "slipway.rag.v1.RagService/Ask"


class Method:
    """A method behind `Repeats`. `memory`: the answer is there still. `remembered`: it can be had again at all."""

    def __init__(self, repeats: Repeats) -> None:
        self.memory = self.remembered = True
        self.asked: list[bytes] = []
        self.read: list[bytes] = []
        self.trailing: list[Any] = []
        self.fault: Exception | None = None
        self.pin = ""
        self._repeats = repeats
        self._behaviour = repeats.around(ASK, self._inner)

    async def _inner(self, received: Received, context: Any) -> Reply:
        self.asked.append(received.data)
        assert isinstance(received.message, rag_pb2.AskRequest)
        return Reply(b"first", self._again if self.remembered else None)

    def _again(self, context: RequestContext) -> bytes | None:
        if self.fault is not None:
            raise self.fault
        return f"again for {context.request_id}".encode() if self.memory else None

    def _parse(self, data: bytes) -> rag_pb2.AskRequest:
        self.read.append(data)
        return rag_pb2.AskRequest.FromString(data)

    async def call(self, made_id: str = "r", **fields: str) -> bytes:
        data = rag_pb2.AskRequest(**fields).SerializeToString()
        received = Received(data, self._parse, 4096, self._repeats.finder(ASK)(data))
        pin = (("slipway-artifact", self.pin),) if self.pin else ()
        token = identity.metadata.set((("x-request-id", made_id), *pin))
        try:
            response: bytes = await self._behaviour(received, self)
        finally:
            identity.metadata.reset(token)
        return response

    def set_trailing_metadata(self, metadata: Any) -> None:
        """As gRPC's context, which `call` stands in for."""
        self.trailing.append(metadata)


async def test_a_repeated_request_is_answered_unread_for_its_own_caller() -> None:
    method = Method(Repeats())
    assert [await method.call(name, question="q") for name in "abc"] == [b"first", b"again for b", b"again for c"]
    assert len(method.asked) == len(method.read) == 1
    assert method.trailing == [(("x-request-id", name),) for name in "bc"]


async def test_an_id_that_is_not_acceptable_is_left_to_those_who_refuse_it() -> None:
    method = Method(Repeats())
    assert [await method.call(name, question="q") for name in ("a", "line\nbreak", "b" * 129)] == [b"first"] * 3


async def test_a_fault_on_the_short_way_is_logged_and_the_usual_one_taken(caplog: pytest.LogCaptureFixture) -> None:
    method = Method(Repeats())
    await method.call(question="q")
    method.fault = RuntimeError("on the way")
    assert await method.call(question="q") == b"first"
    [record] = [record for record in caplog.records if record.name.startswith("slipway_server")]
    assert (record.levelname, record.message, record.method) == ("ERROR", "repeat failed", ASK)


async def test_a_pin_in_the_metadata_takes_the_usual_way() -> None:
    method = Method(Repeats())
    for pinned in (False, True):
        method.pin = "stable" if pinned else ""
        assert await method.call(question="q") == b"first"


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
