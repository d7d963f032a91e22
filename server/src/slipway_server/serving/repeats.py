# SPDX-License-Identifier: Apache-2.0
"""Requests that come again, byte for byte: what was answered from memory is answered so again without being read.

    repeats = Repeats()                          # a layer
    again = repeats.find(method, data)           # None: not known
    response = again(context)                    # None: not so any more; ask as if for the first time

Nothing of an answer is held here, and nothing is decided: `again` asks the runtime whether the same variant would
answer, and whether memory still has what it said. A request that names its own id does not come again.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import grpc

from slipway_server import request as request_scope
from slipway_server.serving.methods import Behaviour
from slipway_server.serving.reading import Again, Received

MAX_REQUESTS = 2048
MAX_REQUEST_BYTES = 2048
"""Of those kept: longer ones are asked rarely twice, and reading them is a small part of what they cost."""


class Reply(NamedTuple):
    """A serialized response, and how to answer an equal request where that may be done from memory."""

    data: bytes
    again: Again | None = None


class Repeats:
    """By method, the requests that were answered from memory last. A layer; for one event loop."""

    def __init__(self, max_requests: int = MAX_REQUESTS) -> None:
        self._max_requests = max_requests
        self._known: defaultdict[str, OrderedDict[bytes, Again]] = defaultdict(OrderedDict)

    def __repr__(self) -> str:
        held = {method: len(known) for method, known in self._known.items()}
        return f"Repeats({held}, limit={self._max_requests})"

    def find(self, method: str, data: bytes) -> Again | None:
        """How a request with these bytes is answered, which becomes the one used last."""
        known = self._known[method]
        again = known.get(data)
        if again is not None:
            known.move_to_end(data)
        return again

    def around(self, method: str, inner: Behaviour) -> Behaviour:
        """Answer again where that is so; `inner` may return a Reply."""
        known = self._known[method]

        async def behaviour(received: Received, context: grpc.aio.ServicerContext) -> Any:
            if received.again is not None:
                response = received.again(request_scope.current())
                if response is not None:
                    return response
                known.pop(received.data, None)
            reply = await inner(received, context)
            if not isinstance(reply, Reply):
                return reply
            if reply.again is not None and not received.request_id and len(received.data) <= MAX_REQUEST_BYTES:
                known[received.data] = reply.again
                if len(known) > self._max_requests:
                    known.popitem(last=False)
            return reply.data

        return behaviour
