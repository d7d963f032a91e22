# SPDX-License-Identifier: Apache-2.0
"""One server: the gRPC port and the HTTP port, from listening to stopped.

server = Server(service, ServingConfig.from_settings(settings))
await server.start()                # listens, answers NOT_SERVING
await server.readiness.open()       # after the dry run
await server.stop()                 # NOT_SERVING, drain, finish what is under way
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import grpc
from aiohttp import web
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from slipway_server.errors import ConfigInvalid, PortTaken, SlipwayError
from slipway_server.runtime.types import Service
from slipway_server.serving import servicers
from slipway_server.serving.config import ServingConfig
from slipway_server.serving.http import application
from slipway_server.serving.layers import layers
from slipway_server.serving.methods import Methods
from slipway_server.serving.readiness import Readiness
from slipway_server.serving.repeats import Repeats

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

KEEPALIVE_SECONDS = 120
MIN_PING_INTERVAL_SECONDS = 5
"""A client that pings more often is cut off; ours pings every 10 s (slipway_client), which leaves a margin."""


def channel_options(config: ServingConfig) -> list[tuple[str, int]]:
    """gRPC's settings for a server."""
    return [
        # Without this a second server on the same port would silently take half of the traffic.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", config.max_received_bytes),
        ("grpc.max_send_message_length", config.max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_INTERVAL_SECONDS * 1000),
        # Connections are renewed so that new pods get calls. A shorter grace would cut off requests under way.
        ("grpc.max_connection_age_ms", _milliseconds(config.connection_age_seconds)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(config.grace_seconds)),
    ]


def _milliseconds(seconds: float) -> int:
    """As gRPC's options have them, which are C integers: at most 24 days."""
    return min(round(seconds * 1000), 2**31 - 1)


class Symbols:
    """The default descriptor pool for reflection, which finds methods, too, as `grpcurl describe` asks for them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(descriptor_pool.Default(), name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802  (the pool's name)
        """The file that has `symbol`, a full name. Raises KeyError."""
        pool = descriptor_pool.Default()
        try:
            return pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return pool.FindMethodByName(symbol).containing_service.file


class Server:
    """Ports, services and their state. Make it inside the event loop that runs it."""

    def __init__(self, service: Service, config: ServingConfig) -> None:
        offered = servicers.offered(service)
        self.readiness = Readiness(offered)
        self.grpc_port = config.grpc_port
        """The port that is listened on, once started; so for `metrics_port`."""
        self.metrics_port = config.metrics_port
        self._config = config
        repeats = Repeats()
        methods = Methods(layers(config, self.readiness, repeats), config.max_message_bytes, repeats.finder)
        servicers.register(methods, service, config.max_input_bytes)
        health_pb2_grpc.add_HealthServicer_to_server(self.readiness.servicer, methods)
        if config.reflection:
            reflection.enable_server_reflection((*offered, HEALTH, reflection.SERVICE_NAME), methods, Symbols())
        self._grpc = grpc.aio.server(handlers=(methods,), options=channel_options(config))
        self._http = web.AppRunner(application(self.readiness), access_log=None)

    def __repr__(self) -> str:
        return f"Server(grpc_port={self.grpc_port}, metrics_port={self.metrics_port}, {self.readiness!r})"

    async def start(self) -> None:
        """Listen, not ready yet. Raises PortTaken, or ConfigInvalid for an address that is not this machine's."""
        host, port = self._config.host, self.grpc_port
        await self.readiness.close("dry run under way")
        _probe(host, port, "SLIPWAY_GRPC_PORT")
        try:
            self.grpc_port = self._grpc.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError:
            raise PortTaken(f"SLIPWAY_GRPC_PORT: port {port} of {host} has just been taken; try again") from None
        await self._http.setup()
        try:
            site = web.TCPSite(self._http, host, self.metrics_port)
            await site.start()
        except OSError as error:
            await self._http.cleanup()
            raise _refused(error, host, self.metrics_port, "SLIPWAY_METRICS_PORT") from None
        self.metrics_port = self._http.addresses[0][1]
        await self._grpc.start()

    async def stop(self, *, drain: bool = True) -> None:
        """Lose nothing: say NOT_SERVING, keep answering while callers notice, then finish what is under way."""
        await self.readiness.drain()
        if drain:
            await asyncio.sleep(self._config.drain_seconds)
        await self._grpc.stop(self._config.grace_seconds if drain else None)
        await self._http.cleanup()


def _probe(host: str, port: int, key: str) -> None:
    """Bind as gRPC will: it does not say why it could not, and prints a line of its own."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _refused(error, host, port, key) from None


def _refused(error: OSError, host: str, port: int, key: str) -> SlipwayError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"{key}: another process listens on port {port} of {host}; stop it or choose another", key=key)
    if error.errno == errno.EACCES:
        return ConfigInvalid(f"{key}: this user may not listen on port {port}; choose one above 1023", key=key)
    return ConfigInvalid(f"SLIPWAY_HOST: {host} is not an address of this machine", key="SLIPWAY_HOST")
