"""What a gRPC call shows before its message."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

from service.access.caller import Caller
from service.transport.grpc_errors import Context

Headers = tuple[tuple[str, str], ...]


class Arrival(NamedTuple):
    """A call as it arrives.

    Attributes:
        headers: what it shows; read once, as grpcio makes them anew for each who asks.
        caller: who makes it.
    """

    headers: Headers
    caller: Caller


arrival_of_call: ContextVar[Arrival] = ContextVar("arrival_of_call")
"""That of the gRPC call that the current task handles: what guards a port knows it first, and
grpcio has no place for it. A call that passed no guard has none, and fails."""


def headers_of(context: Context) -> Headers:
    """Returns what a call shows beside its message; of what is no text, the name alone."""
    return tuple(
        (name, value if isinstance(value, str) else "")
        for name, value in context.invocation_metadata() or ()
    )
