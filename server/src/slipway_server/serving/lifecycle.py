# SPDX-License-Identifier: Apache-2.0
"""A server's life: listen, dry run, SERVING, a signal, drain, stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from slipway_server.runtime.types import Service
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.dryrun import prove
from slipway_server.serving.readiness import State
from slipway_server.serving.server import Server

SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


async def run(
    service: Service, config: ServingConfig, stop: asyncio.Event, announce: Callable[[Server], None] = lambda _: None
) -> None:
    """Serve until `stop` is set; `announce` is called once, when SERVING.

    Raises the dry run's error, PortTaken or ConfigInvalid. `service` stays open: it is the caller's.
    """
    server = Server(service, config)
    try:
        await server.start()
        log.info("listening", extra={"grpc_port": server.grpc_port, "metrics_port": server.metrics_port})
        if not await _proved(service, config, server, stop):
            return
        await server.readiness.open()
        announce(server)
        await stop.wait()
        log.info("stopping", extra={"drain_seconds": config.drain_seconds, "grace_seconds": config.grace_seconds})
    finally:
        # Callers only ever saw NOT_SERVING where the dry run did not pass: nobody has to be waited for.
        served = server.readiness.state is State.READY
        await server.stop(drain=served)
        if served:
            log.info("stopped")


async def _proved(service: Service, config: ServingConfig, server: Server, stop: asyncio.Event) -> bool:
    """True after a dry run that passed, False where the stop came first."""
    dry_run = asyncio.create_task(prove(service, config.dry_run_seconds, server.readiness.close))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((dry_run, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not dry_run.done():
            return False
        dry_run.result()
        return True
    finally:
        for task in (dry_run, stopping):
            task.cancel()
        await asyncio.gather(dry_run, stopping, return_exceptions=True)


@contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`, inside the running loop; a second one has its usual, immediate effect."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        restore()
