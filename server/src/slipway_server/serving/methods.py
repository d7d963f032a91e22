# SPDX-License-Identifier: Apache-2.0
"""The methods of a server, as generated code adds them, each of ours with `layers` around it.

    methods = Methods(layers(config, readiness, repeats), config.max_message_bytes, repeats.finder)
    servicers.register(methods, service, config.max_input_bytes)
    grpc_server.add_generic_rpc_handlers((methods,))

One look-up finds a method. What gRPC offers costs more at every call: interceptors are asked in turn for a handler,
generic handlers in turn whether they have the method, and for each registered method a future is waited for anew.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import grpc

from slipway_server.serving.identity import metadata
from slipway_server.serving.reading import Again, Received

OUR_METHODS = "/slipway."

Behaviour = Callable[[Received, grpc.aio.ServicerContext], Coroutine[Any, Any, Any]]


class Layer(Protocol):
    """One concern around a unary call."""

    def around(self, method: str, inner: Behaviour) -> Behaviour:
        """`inner` with this concern around it. Asked once per method, so what depends on the method alone is cheap."""
        ...


class Methods(grpc.GenericRpcHandler):
    """Stands in for a grpc.aio.Server while services are added. Others' methods, such as health, stay as they are.

    Args:
        layers: Outermost first.
        max_message_bytes: Longer requests are not read (serving/reading.py).
        finder: By method, what finds how a request is answered without being read (serving/repeats.py).
    """

    def __init__(
        self, layers: Sequence[Layer], max_message_bytes: int, finder: Callable[[str], Callable[[bytes], Again | None]]
    ) -> None:
        self._layers = layers
        self._finder = finder
        self._max_message_bytes = max_message_bytes
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Left out: generated code adds each method twice, by this and by the next."""

    def add_registered_method_handlers(self, service_name: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        """Add the methods of a service."""
        for name, handler in handlers.items():
            path = f"/{service_name}/{name}"
            self._handlers[path] = self._layered(path, handler) if path.startswith(OUR_METHODS) else handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """What gRPC asks at every call, in the task that then handles it."""
        metadata.set(handler_call_details.invocation_metadata)
        return self._handlers.get(handler_call_details.method)

    def _layered(self, path: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        method, parse, limit = path.lstrip("/"), handler.request_deserializer, self._max_message_bytes
        behaviour = _read(handler.unary_unary)
        for layer in reversed(self._layers):
            behaviour = layer.around(method, behaviour)

        find = self._finder(method)

        def received(data: bytes) -> Received:
            return Received(data, parse, limit, find(data))

        return grpc.unary_unary_rpc_method_handler(behaviour, received, _serialized)


def _read(inner: Callable[[Any, grpc.aio.ServicerContext], Coroutine[Any, Any, Any]]) -> Behaviour:
    """`inner`, which takes a message, for what was received."""

    async def behaviour(received: Received, context: grpc.aio.ServicerContext) -> Any:
        return await inner(received.message, context)

    return behaviour


def _serialized(response: Any) -> bytes:
    """A response that its servicer has written as bytes is left as it is."""
    return response if isinstance(response, bytes) else response.SerializeToString()
