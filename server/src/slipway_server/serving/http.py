# SPDX-License-Identifier: Apache-2.0
"""The HTTP side for kubelets and Prometheus: /live, /ready and /metrics."""

from __future__ import annotations

from aiohttp import web

from slipway_server.serving.readiness import Readiness, State
from slipway_server.telemetry import metrics

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def application(readiness: Readiness) -> web.Application:
    """The three paths. /ready is 200 only between the dry run and the stop, and says why where it is not."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def ready(_: web.Request) -> web.Response:
        if readiness.state is State.READY:
            return web.Response(text="ready\n")
        return web.Response(text=f"not ready: {readiness.reason}\n", status=503)

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": PROMETHEUS_TEXT})

    app = web.Application()
    app.add_routes([web.get("/live", live), web.get("/ready", ready), web.get("/metrics", exposition)])
    return app
