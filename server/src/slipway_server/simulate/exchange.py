# SPDX-License-Identifier: Apache-2.0
"""One request to the simulated provider: key, model, quota, fault, latency, answer, ledger entry."""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from slipway_server.simulate.config import Behaviour
from slipway_server.simulate.ledger import Entry, Ledger
from slipway_server.simulate.quota import KeyQuota
from slipway_server.simulate.state import State
from slipway_server.simulate.wire import (
    HTML_503,
    REFUSALS,
    Refusal,
    error_body,
    rate_limit_headers,
    retry_after_headers,
)

IN_STREAM = frozenset({"cut", "error-event"})
UNCHARGED = frozenset({"rate-limit", "billing", "auth", "model", "context-length", "invalid"})
"""Faults that come before the quota is looked at; the others happen to admitted requests."""


@dataclass(frozen=True, slots=True)
class Service:
    """What all exchanges share."""

    state: State
    ledger: Ledger
    numbers: Iterator[int] = field(default_factory=itertools.count)


class Refused(Exception):
    """The exchange ends with an error answer."""

    def __init__(self, name: str, refusal: Refusal, *, wait_seconds: float | None = None) -> None:
        super().__init__(name)
        self.name, self.refusal, self.wait_seconds = name, refusal, wait_seconds


class Exchange:
    """Runs one request; `handle` makes the answer from the admitted exchange."""

    def __init__(self, service: Service, request: web.Request) -> None:
        self.service, self.state, self.request = service, service.state, request
        self.number = next(service.numbers)
        self.request_id = f"sim-{self.number}"
        self.arrived = self.state.now()
        self.key = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        self.body: dict[str, Any] = {}
        self.headers: dict[str, str] = {"x-request-id": self.request_id}
        self.behaviour: Behaviour = self.state.config.behaviour
        self.fault = "none"
        self.quota: KeyQuota | None = None
        self.remaining: float | None = None
        self.model, self.status, self.outcome = "", 0, "ok"
        self.input_tokens = self.output_tokens = 0

    async def run(self, handle: Callable[[Exchange], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        """Answer, and enter it in the ledger whatever happens."""
        try:
            await self._read()
            self._check()
            return await handle(self)
        except Refused as refused:
            return self._refuse(refused)
        except (asyncio.CancelledError, ConnectionError):
            if self.outcome == "ok":
                self.outcome = "aborted"
            raise
        finally:
            self._enter()

    async def admit(self, tokens: float) -> None:
        """Charge the quota, then live through faults and latency up to the answer. Raises Refused."""
        self.quota = self.state.quota(self.key, self.model, self.behaviour)
        verdict = self.quota.admit(tokens)
        told = self.state.levels(self.key, self.model, self.behaviour, verdict.levels)
        if "requests" in verdict.levels:
            self.remaining = verdict.levels["requests"].remaining
        self.headers.update(rate_limit_headers(self.behaviour.headers, told))
        if not verdict.admitted:
            name = "rate-limit" if math.isfinite(verdict.wait_seconds) else "too-large"
            refusal = REFUSALS[name]._replace(kind=verdict.exceeded or "requests")
            raise Refused(name, refusal, wait_seconds=verdict.wait_seconds)
        if self.fault == "hang":
            self.outcome = "hang"
            await asyncio.Event().wait()
        if self.fault == "reset":
            self.outcome = "reset"
            self.reset_connection()
        if self.fault in REFUSALS:
            raise Refused(self.fault, REFUSALS[self.fault])
        if self.fault == "html":
            raise Refused(self.fault, Refusal(503, "html", None, HTML_503))
        # From the arrival on: what this process takes for a request is a part of the latency that it simulates.
        spent = max(0.0, self.state.now() - self.arrived)  # a reset sets the time back
        await asyncio.sleep(self.state.latency(self.behaviour) - spent)

    async def reply(self, body: bytes) -> web.StreamResponse:
        """Send a whole answer, its first byte late where so configured."""
        self.status = 200
        if self.fault == "garbage":
            self.outcome, body = "garbage", body[: len(body) // 2]
        if self.behaviour.first_byte_seconds <= 0:
            return web.Response(body=body, headers=self.headers, content_type="application/json")
        response = web.StreamResponse(headers={**self.headers, "Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(self.request)
        await asyncio.sleep(self.behaviour.first_byte_seconds)
        await response.write(body)
        await response.write_eof()
        return response

    def reset_connection(self) -> None:
        """Close the connection with a TCP reset; raises ConnectionResetError."""
        transport = self.request.transport
        if transport is not None:
            raw = transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        raise ConnectionResetError

    async def _read(self) -> None:
        try:
            body = orjson.loads(await self.request.read())
        except orjson.JSONDecodeError:
            raise Refused("invalid", REFUSALS["invalid"]) from None
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            raise Refused("invalid", REFUSALS["invalid"])
        self.body, self.model = body, body["model"]

    def _check(self) -> None:
        if self.state.config.keys and self.key not in self.state.config.keys:
            raise Refused("auth", REFUSALS["auth"])
        if not self.state.knows(self.model):
            raise Refused("model", REFUSALS["model"])
        self.behaviour = self.state.behaviour(self.model)
        self.fault = self.state.fault(self.behaviour)
        if self.fault in UNCHARGED:
            wait = self.behaviour.retry_after_seconds if self.fault == "rate-limit" else None
            raise Refused(self.fault, REFUSALS[self.fault], wait_seconds=wait)

    def _refuse(self, refused: Refused) -> web.Response:
        self.status, self.outcome = refused.refusal.status, refused.name
        if refused.wait_seconds is not None:
            self.headers.update(retry_after_headers(self.behaviour, refused.wait_seconds))
        if refused.refusal.kind == "html":
            return web.Response(text=HTML_503, status=503, headers=self.headers, content_type="text/html")
        body = orjson.dumps(error_body(refused.refusal))
        return web.Response(body=body, status=self.status, headers=self.headers, content_type="application/json")

    def _enter(self) -> None:
        headers = self.request.headers
        self.service.ledger.add(
            Entry(
                number=self.number,
                arrived_seconds=self.arrived,
                finished_seconds=self.state.now(),
                path=self.request.path,
                model=self.model,
                key=self.key[-4:],
                status=self.status,
                outcome=self.outcome,
                stream=self.body.get("stream") is True,
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
                client=headers.get("User-Agent", ""),
                tag=headers.get("X-Slipway-Tag", ""),
                request_id=self.request_id,
                remaining_requests=self.remaining,
            )
        )
