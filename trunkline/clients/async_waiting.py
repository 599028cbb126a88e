"""How the asynchronous client waits; `waiting` has the same for the blocking one.

These two modules are all that the clients do not share.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import grpc

from trunkline.connection import channel
from trunkline.connection.status import error_from_rpc
from trunkline.errors import Internal, Unavailable
from trunkline.values.inputs import InputLike, reads_file

T = TypeVar("T")
Q = TypeVar("Q")
R = TypeVar("R")

sleep = asyncio.sleep


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """Opens a channel to a server, for the running event loop."""
    options = channel.channel_options(target)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)


def held(inputs: Iterable[InputLike]) -> tuple[list[InputLike], bool]:
    """Returns the inputs, and whether there are files to read among them."""
    rows = list(inputs)
    return rows, any(map(reads_file, rows))


async def next_part(parts: Iterator[T], *, reads_files: bool = True) -> T | None:
    """Returns the next part, None after the last. Files are read in a thread."""
    return await in_thread(next, parts, None) if reads_files else next(parts, None)


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Runs what takes long in a thread."""
    return await asyncio.to_thread(function, *arguments)


async def send(
    method: "grpc.aio.StreamUnaryMultiCallable[Q, R]",
    messages: Iterator[Q],
    sent: Callable[[], None],
    *,
    timeout: float,
    metadata: channel.Metadata,
    address: str,
) -> R:
    """Streams messages, and calls `sent` after each that was handed over. Returns the reply.

    `messages` are made in a thread, `sent` is called on the event loop.
    """
    stream = method(timeout=timeout, metadata=metadata)
    try:
        written = await _write(stream, messages, sent)
        try:
            return await stream
        except grpc.RpcError as cause:
            error = error_from_rpc(cause, address)
            if not written and isinstance(error, Internal) and not error.request_id:
                # grpc.aio's own word for a stream that ended under a write.
                raise Unavailable("the stream broke while it was written") from cause
            raise error from cause
    finally:
        stream.cancel()


async def _write(
    stream: "grpc.aio.StreamUnaryCall[Q, R]", messages: Iterator[Q], sent: Callable[[], None]
) -> bool:
    """Writes all messages; False if the stream ended before them: its reply says how."""
    while (message := await next_part(messages)) is not None:
        try:
            await stream.write(message)
        except (asyncio.InvalidStateError, grpc.RpcError):
            return False
        sent()
    await stream.done_writing()
    return True
