"""What one process does for all that share a store: trainings, and what has to stop them.

The others hand such calls on to it, over a Unix socket, once they have let the caller in. So there
is one process that fits, one that tunes, one job of a head at a time, and tenants take turns, as
where a server is alone. If it dies it is started anew and takes up the trainings.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from sqlalchemy import Connection

from service.access.authentication import unauthenticated
from service.access.caller import Caller, Role
from service.errors import Unavailable, again
from service.requests.call import Call
from service.requests.calls import Handler
from service.transport.methods import OF_THE_SERVER, Method, methods_of
from trunkline.connection.status import error_from_rpc

KEPT = frozenset(
    {
        *("TrainHead", "GetTraining", "CancelTraining"),
        *("MergeLabels", "DeleteLabel", "DescribeLabels", "DeleteExamples", "ForgetExamples"),
        *("DeleteHead", "DeleteTenant"),
    }
)
"""RPCs that start, show or stop trainings, or delete what only the keeper has on the disk."""

CALLER = "x-caller"
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
)


def keeper_address(folder: Path) -> str:
    """Returns where the keeper answers the other processes."""
    return f"unix:{folder / 'keeper.sock'}"


class OtherMembers:
    """Believes other members whom they have let in; nobody else reaches the socket."""

    required = True

    async def caller(
        self, shown: Iterable[tuple[str, str]], before: Caller | None = None
    ) -> Caller:
        """Returns who made the call that a member hands on.

        Raises:
            Unauthenticated: it does not say.
        """
        text = dict(shown).get(CALLER)
        if not text:
            raise unauthenticated()
        facts = json.loads(text)
        facts |= {"roles": frozenset(map(Role, facts["roles"])), "heads": tuple(facts["heads"])}
        return Caller(**facts)

    def check_again(self, connection: Connection, caller: Caller) -> None:
        """Refuses nobody: no such call gives access."""


class Keeper:
    """The keeper, as the other members reach it: a call waits while it is started anew."""

    def __init__(self, folder: Path) -> None:
        self._channel = grpc.aio.insecure_channel(keeper_address(folder), options=OPTIONS)

    def handlers(self, own: Mapping[str, Handler]) -> Mapping[str, Handler]:
        """Returns handlers of which those of the keeper hand their calls on."""
        kept = {
            method.name: self._stream(method) if method.server_streaming else self._unary(method)
            for method in methods_of(*OF_THE_SERVER)
            if method.name in KEPT
        }
        return {**own, **kept}

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    def _unary(self, method: Method) -> Handler:
        rpc = self._channel.unary_unary(method.path, _bytes_of, method.response.FromString)

        async def handle(request: Message, call: Call) -> Message:
            try:
                reply: Message = await rpc(request, **_options(call))
            except grpc.aio.AioRpcError as error:
                raise _relayed(error) from error
            return reply

        return handle

    def _stream(self, method: Method) -> Handler:
        rpc = self._channel.unary_stream(method.path, _bytes_of, method.response.FromString)

        async def handle(request: Message, call: Call) -> AsyncIterator[Message]:
            replies = rpc(request, **_options(call))
            try:
                async for reply in replies:
                    yield reply
            except grpc.aio.AioRpcError as error:
                raise _relayed(error) from error
            finally:
                replies.cancel()

        return handle


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()


def _options(call: Call) -> dict[str, Any]:
    facts = asdict(call.caller) | {"roles": sorted(call.caller.roles)}
    now = asyncio.get_running_loop().time()
    return {
        "metadata": ((CALLER, json.dumps(facts)),),
        "timeout": None if call.deadline is None else max(call.deadline - now, 0.0),
        "wait_for_ready": True,
    }


def _relayed(error: grpc.aio.AioRpcError) -> Exception:
    """Returns the error that the keeper answered, or says that it did not."""
    detail = error_from_rpc(error)
    if not detail.reason:
        return Unavailable(
            "the process that trains does not answer, and is started anew; ask again",
            retry_after=1.0,
        )
    return again(
        detail.reason,
        detail.message,
        field=detail.field,
        limit=detail.limit,
        value=detail.value,
        retry_after=detail.retry_after,
    )
