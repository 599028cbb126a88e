"""How the blocking client waits; `async_waiting` has the same for the asynchronous one."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import grpc

from trunkline.connection import channel
from trunkline.connection.status import error_from_rpc
from trunkline.values.inputs import InputLike

T = TypeVar("T")
Q = TypeVar("Q")
R = TypeVar("R")


def sleep(seconds: float) -> None:
    """Waits so many seconds."""
    time.sleep(seconds)


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """Opens a channel to a server."""
    options = channel.channel_options(target)
    if credentials is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, credentials, options=options)


def held(inputs: Iterable[InputLike]) -> tuple[Iterable[InputLike], bool]:
    """Returns the inputs, which are read one by one, and that files may be among them."""
    return inputs, True


def next_part(parts: Iterator[T], *, reads_files: bool = True) -> T | None:
    """Returns the next part, None after the last."""
    return next(parts, None)


def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Runs it right here: nobody else waits."""
    return function(*arguments)


def send(
    method: "grpc.StreamUnaryMultiCallable[Q, R]",
    messages: Iterator[Q],
    sent: Callable[[], None],
    *,
    timeout: float,
    metadata: channel.Metadata,
    address: str,
) -> R:
    """Streams messages, and calls `sent` after each that was handed over. Returns the reply.

    `messages` are made, and `sent` is called, in a thread of grpc's.
    """
    failures: list[Exception] = []

    def requests() -> Iterator[Q]:
        # grpc would only log what is raised in its thread.
        try:
            for message in messages:
                yield message
                sent()
        except Exception as error:
            failures.append(error)

    try:
        reply = method(requests(), timeout=timeout, metadata=metadata)
    except grpc.RpcError as error:
        # A failure here ends the stream, of which the server then complains: a consequence.
        raise (failures[0] if failures else error_from_rpc(error, address)) from error
    if failures:
        raise failures[0]
    return reply
