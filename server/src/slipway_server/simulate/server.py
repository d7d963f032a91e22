# SPDX-License-Identifier: Apache-2.0
"""The simulated provider as a server on this machine.

    async with Provider(SimulatorConfig(behaviour=Behaviour(rpm=60))) as provider:
        …call provider.base_url with any OpenAI client…
        provider.configure(fault="rate-limit")          # from now on
        assert provider.ledger.count(status=429) == 1

Endpoints: /v1/chat/completions, /v1/embeddings, /v1/models; /ledger and /admin/… for whoever runs the drill.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Coroutine
from dataclasses import asdict
from types import TracebackType
from typing import Any

import orjson
from aiohttp import web

from slipway_server.errors import ConfigInvalid, PortTaken, SlipwayError
from slipway_server.simulate.answers import model_list
from slipway_server.simulate.chat import complete_chat
from slipway_server.simulate.config import SimulatorConfig
from slipway_server.simulate.embedding import embed
from slipway_server.simulate.exchange import Exchange, Service
from slipway_server.simulate.ledger import Ledger
from slipway_server.simulate.state import State

MAX_BODY_BYTES = 64 * 1024 * 1024


class Provider:
    """Serves within `async with`. `base_url` ends in /v1."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.state = State(self.config)
        self.ledger = Ledger(self.config.ledger)
        self.port = 0
        self.in_flight = 0
        """Requests for answers or vectors that are under way."""
        self._runner: web.AppRunner | None = None

    @property
    def root_url(self) -> str:
        """Address of the ledger and of the admin endpoints."""
        return f"http://{self.config.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What to give to a client as its base URL."""
        return f"{self.root_url}/v1"

    def configure(self, *, model: str | None = None, **changes: Any) -> None:
        """Change behaviour from now on (keys of `Behaviour`), of one model or of all. Raises ConfigInvalid."""
        self.state.configure(model, changes)

    def reset(self) -> None:
        """Full quotas, empty ledger, the scenario from its beginning."""
        self.state.restart()
        self.ledger.clear()

    async def __aenter__(self) -> Provider:
        await asyncio.to_thread(self.ledger.open)
        self._runner = web.AppRunner(self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port)
        try:
            await site.start()
        except OSError as error:
            await self.__aexit__(None, None, None)
            raise _refused(error, self.config.host, self.config.port) from None
        self.port = int(self._runner.addresses[0][1])
        self.state.restart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner:
            await self._runner.cleanup()
        await asyncio.to_thread(self.ledger.close)

    def _app(self) -> web.Application:
        service = Service(self.state, self.ledger)

        async def chat(request: web.Request) -> web.StreamResponse:
            return await self._counted(Exchange(service, request).run(complete_chat))

        async def embeddings(request: web.Request) -> web.StreamResponse:
            return await self._counted(Exchange(service, request).run(embed))

        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", chat)
        app.router.add_post("/v1/embeddings", embeddings)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/ledger", self._get_ledger)
        app.router.add_get("/ledger/summary", self._get_summary)
        app.router.add_get("/admin/behaviour", self._get_behaviour)
        app.router.add_post("/admin/configure", self._post_configure)
        app.router.add_post("/admin/reset", self._post_reset)
        return app

    async def _counted(self, exchange: Coroutine[Any, Any, web.StreamResponse]) -> web.StreamResponse:
        self.in_flight += 1
        try:
            return await exchange
        finally:
            self.in_flight -= 1

    async def _models(self, request: web.Request) -> web.Response:
        return web.Response(body=model_list(self.state.models()), content_type="application/json")

    async def _get_ledger(self, request: web.Request) -> web.Response:
        since = request.query.get("since", "0")
        if not since.isdecimal():
            return _json({"error": "since is the number of an entry"}, status=400)
        return _json([asdict(entry) for entry in self.ledger.entries if entry.number >= int(since)])

    async def _get_summary(self, request: web.Request) -> web.Response:
        return _json(self.ledger.summary())

    async def _get_behaviour(self, request: web.Request) -> web.Response:
        model = request.query.get("model", "")
        return _json({"at_seconds": self.state.now(), **asdict(self.state.behaviour(model))})

    async def _post_configure(self, request: web.Request) -> web.Response:
        try:
            changes = orjson.loads(await request.read())
            if not isinstance(changes, dict):
                raise ConfigInvalid("send a JSON object with keys of the provider's behaviour")
            model = changes.pop("model", None)
            if not isinstance(model, str | None):
                raise ConfigInvalid("model is the name of one model")
            self.state.configure(model, changes)
        except orjson.JSONDecodeError:
            return _json({"error": "the body is not JSON"}, status=400)
        except ConfigInvalid as error:
            return _json({"error": error.message}, status=400)
        return _json({"changed": sorted(changes)})

    async def _post_reset(self, request: web.Request) -> web.Response:
        self.reset()
        return _json({"reset": True})


def _refused(error: OSError, host: str, port: int) -> SlipwayError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"port {port} of {host} is taken; choose another with --port")
    if error.errno == errno.EACCES:
        return ConfigInvalid(f"this user may not listen on port {port}; choose one above 1023 with --port")
    return ConfigInvalid(f"--host {host}: is not an address of this machine")


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json", status=status)
