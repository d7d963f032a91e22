# SPDX-License-Identifier: Apache-2.0
"""Requests that come again, byte for byte: what was answered from memory is answered so again without being read.

    repeats = Repeats()                          # a layer
    again = repeats.finder(method)(data)         # None: not known
    response = again(context)                    # None: not so any more; ask as if for the first time

Nothing of an answer is held here, and nothing is decided: `again` asks the runtime whether the same variant would
answer, and whether memory still has what it said. A request that names its own id does not come again.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from slipway_server.request import RequestContext
from slipway_server.serving import access, identity
from slipway_server.serving.access import OK
from slipway_server.serving.identity import ATTEMPTS_KEY, PIN_KEY, REQUEST_ID_KEY, metadata
from slipway_server.serving.methods import Behaviour
from slipway_server.serving.reading import Again, Received
from slipway_server.telemetry import metrics

log = logging.getLogger(__name__)

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

    def finder(self, method: str) -> Callable[[bytes], Again | None]:
        """What finds how a request of this method with given bytes is answered."""
        return self._known[method].get

    def around(self, method: str, inner: Behaviour) -> Behaviour:
        """Answer again where that is so; `inner` may return a Reply."""
        known = self._known[method]

        def answered(again: Again, context: grpc.aio.ServicerContext) -> bytes | None:
            started = time.perf_counter()
            told: dict[str, Any] = dict(metadata.get())
            request_id = identity.request_id("", told)
            if request_id is None or PIN_KEY in told:
                return None
            scope = RequestContext(request_id)
            response = again(scope)
            if response is not None:
                context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
                if ATTEMPTS_KEY in told:
                    metrics.RPC_RETRIES_SEEN.labels(method).inc()
                if access.log.isEnabledFor(logging.INFO):
                    access.log_answer(method, scope, started)
                metrics.RPC_DURATION.labels(method, OK).observe(time.perf_counter() - started)
            return response

        async def behaviour(received: Received, context: grpc.aio.ServicerContext) -> Any:
            if received.again is not None:
                try:
                    response = answered(received.again, context)
                except Exception:  # a fault here must neither cost the answer nor reach the caller
                    log.exception("repeat failed", extra={"method": method})
                    response = None
                if response is not None:
                    known.move_to_end(received.data)
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
