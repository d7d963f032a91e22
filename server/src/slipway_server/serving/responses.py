# SPDX-License-Identifier: Apache-2.0
"""The bytes of a response. What all responses with a remembered answer have in common is written once.

    responses = Responses(rag_pb2.AskResponse, write)
    data = responses.of(answer)          # a whole rag_pb2.AskResponse, serialized

In the wire format the fields of a message follow each other in any order: a response is its outputs, and then its
receipt, which is the common fields and then the request's own. A receipt in two parts would be merged by most parsers,
as the format asks for, but not by all (protobuf.js keeps the last one): its length is written for both together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from google.protobuf.message import Message

from slipway.v1 import receipt_pb2
from slipway_server.cache.memory import Form
from slipway_server.request import RequestContext
from slipway_server.runtime.types import Answer, Repeat
from slipway_server.serving import convert
from slipway_server.serving.repeats import Reply

LENGTH_DELIMITED = 2
"""Wire type of a message in a message (protobuf's encoding guide)."""


class Responses:
    """Writes the responses of one method. `write` fills everything but `receipt` into an empty message."""

    def __init__(self, kind: type[Message], write: Callable[[Answer, Any], None]) -> None:
        self._kind = kind
        self._write = write
        self._name: str = kind.DESCRIPTOR.full_name
        self._tag = _varint(kind.DESCRIPTOR.fields_by_name["receipt"].number << 3 | LENGTH_DELIMITED)

    def reply(self, answer: Answer) -> Reply:
        """The response, and where the answer was remembered how to answer an equal request."""
        return Reply(self.of(answer), None if answer.again is None else partial(self._again, answer.again))

    def _again(self, again: Repeat, context: RequestContext) -> bytes | None:
        answer = again(context)
        return None if answer is None else self.of(answer)

    def of(self, answer: Answer) -> bytes:
        """The response. Raises ProgramFailed for outputs that it cannot hold."""
        form = answer.form(self._name)
        if form is None:
            form = self._common(answer)
            answer.keep(self._name, form)
        outputs, common = form
        own = receipt_pb2.Receipt()
        convert.write_own(answer.own, own)
        rest = own.SerializeToString()
        return b"".join((outputs, self._tag, _varint(len(common) + len(rest)), common, rest))

    def _common(self, answer: Answer) -> Form:
        response, receipt = self._kind(), receipt_pb2.Receipt()
        self._write(answer, response)
        convert.write_common(answer.receipt, receipt)
        return response.SerializeToString(), receipt.SerializeToString()


@lru_cache(maxsize=4096)
def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
