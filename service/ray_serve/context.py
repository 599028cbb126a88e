"""What the transport asks of a call's context, over the one that Ray hands a replica."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import grpc
from ray.serve.grpc_util import RayServegRPCContext

from service.requests.time_left import TIME_LEFT_KEY, read_time_left


class CallEnded(Exception):
    """The call has its answer: an error."""


class ReplicaContext:
    """The context of one call.

    Ray's has no deadline, which is read from metadata here, and nothing that ends a call: an error
    that a replica raises reaches the client as INTERNAL, with a stack trace in place of its
    details. So the error is noted on Ray's context, and the replica returns.
    """

    def __init__(self, context: RayServegRPCContext) -> None:
        self._context = context

    def peer(self) -> str:
        """Returns the proxy's client, as gRPC names it."""
        return self._context.peer()

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """Returns what the call shows beside its message."""
        return self._context.invocation_metadata()

    def time_remaining(self) -> float | None:
        """Returns the seconds that the call had when it was sent; None if it does not say.

        Raises:
            InvalidRequest: what it says is no time.
        """
        return read_time_left(dict(self.invocation_metadata()).get(TIME_LEFT_KEY))

    def set_trailing_metadata(self, pairs: Iterable[tuple[str, str | bytes]]) -> None:
        """Sets what is sent after the reply."""
        self._context.set_trailing_metadata(list(pairs))  # type: ignore[arg-type]  # bytes, too

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing: Iterable[tuple[str, str | bytes]]
    ) -> NoReturn:
        """Notes the error that the call is answered with.

        Raises:
            CallEnded: always.
        """
        self._context.set_code(code)
        self._context.set_details(details)
        self.set_trailing_metadata(trailing)
        raise CallEnded
