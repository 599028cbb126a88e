"""What Ray's gRPC proxy is told of the service: the methods whose calls it passes on."""

from __future__ import annotations

from typing import Any

import grpc

from service.transport.methods import EXTRACTION, TAILS, Method, methods_of


def unary_methods(service: Any) -> list[Method]:
    """Returns the methods of a service that stream in neither direction."""
    return [
        method
        for method in methods_of(service)
        if not method.client_streaming and not method.server_streaming
    ]


def add_to_proxy(servicer: Any, server: Any) -> None:
    """Registers the methods, as generated code does; Ray is given this function's name.

    Messages pass as bytes: the replica parses them, within its bounds and with its own errors. The
    streams of `TailService` are left out, as each would count as a request that never ends, and so
    is `AdminService`, as all replicas run the same backbones: gRPC answers UNIMPLEMENTED.
    """
    for service in (EXTRACTION, TAILS):
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            method.name: grpc.unary_unary_rpc_method_handler(getattr(servicer, method.name))
            for method in unary_methods(service)
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service.full_name, handlers),)
        )
