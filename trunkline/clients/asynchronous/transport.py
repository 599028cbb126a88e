"""Calls to a server: which are repeated, how long they may take, what goes with them."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trunkline.clients.async_waiting import open_channel, send, sleep
from trunkline.connection import channel
from trunkline.connection.addresses import DEFAULT_ADDRESS, check_address, target_of
from trunkline.connection.retrying import Attempts
from trunkline.connection.status import error_from_rpc
from trunkline.connection.tls import PathLike, credentials_for
from trunkline.errors import DeadlineExceeded, InvalidArgument, Unavailable
from trunkline.v1 import (
    admin_pb2_grpc,
    advice_pb2_grpc,
    extraction_pb2_grpc,
    heads_pb2_grpc,
    keys_pb2_grpc,
    prediction_pb2_grpc,
    reviews_pb2_grpc,
    tenants_pb2_grpc,
)
from trunkline.wire.building import build

Q = TypeVar("Q", bound=Message)
R = TypeVar("R")

_PAGE_SIZE = 1000


class AsyncTransport:
    """A connection to a server, and how calls are made over it."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        timeout: float = channel.DEFAULT_TIMEOUT,
        ca: PathLike | None = None,
        client_cert: PathLike | None = None,
        client_key: PathLike | None = None,
    ) -> None:
        self.address = check_address(address)
        self.timeout = channel.check_timeout(timeout)
        self._metadata = channel.call_metadata(token)
        credentials = credentials_for(address, ca, client_cert, client_key)
        self._channel = open_channel(target_of(address), credentials)
        self._admin = admin_pb2_grpc.AdminServiceStub(self._channel)
        self._advice = advice_pb2_grpc.AdviceServiceStub(self._channel)
        self._extraction = extraction_pb2_grpc.ExtractionServiceStub(self._channel)
        self._heads = heads_pb2_grpc.HeadServiceStub(self._channel)
        self._keys = keys_pb2_grpc.KeyServiceStub(self._channel)
        self._reviews = reviews_pb2_grpc.ReviewServiceStub(self._channel)
        self._tenants = tenants_pb2_grpc.TenantServiceStub(self._channel)
        self._prediction = prediction_pb2_grpc.PredictionServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self._channel.close()

    async def ready(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Returns whether the server (or one gRPC service) answers and serves; never waits."""
        request = build(health_pb2.HealthCheckRequest, service=service)
        try:
            reply = await self._once(self._health.Check, request, self._seconds(timeout))
        except (Unavailable, DeadlineExceeded, InvalidArgument):
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Q, R]",
        request: Q,
        timeout: float | None,
        *,
        idempotent: bool = True,
        at_least: float = 0.0,
    ) -> R:
        """Makes a call, and returns its reply. Raises the exceptions of `trunkline.errors`.

        One that is not `idempotent` is not repeated once it was sent. Without a `timeout` it has
        that of the client, and `at_least` so many seconds.
        """
        seconds = self._seconds(timeout, at_least=at_least)
        if not idempotent:
            # It waits for a connection without a word; this says what it waits for.
            question = health_pb2.HealthCheckRequest()
            await self._attempt(self._health.Check, question, Attempts(seconds, idempotent=True))
        return await self._attempt(method, request, Attempts(seconds, idempotent=idempotent))

    async def _attempt(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Q, R]", request: Q, attempts: Attempts
    ) -> R:
        # One that may be sent only once is not sent before there is a connection.
        waits = not attempts.idempotent
        while True:
            try:
                return await self._once(method, request, attempts.remaining, waits=waits)
            except (Unavailable, DeadlineExceeded) as error:
                await sleep(attempts.pause(error))

    async def _once(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Q, R]",
        request: Q,
        timeout: float,
        *,
        waits: bool = False,
    ) -> R:
        try:
            return await method(
                request,
                timeout=timeout,
                metadata=channel.metadata_for(request, self._metadata),
                wait_for_ready=waits,
            )
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.address) from error

    async def _send(
        self,
        method: "grpc.aio.StreamUnaryMultiCallable[Q, R]",
        first: Q,
        messages: Iterator[Q],
        sent: Callable[[], None],
        timeout: float,
    ) -> R:
        """Streams messages, and calls `sent` after each that was handed over.

        `first` names what the stream is about.
        """
        return await send(
            method,
            messages,
            sent,
            timeout=timeout,
            metadata=channel.metadata_for(first, self._metadata),
            address=self.address,
        )

    async def _watch(
        self,
        method: "grpc.aio.UnaryStreamMultiCallable[Q, R]",
        request: Q,
        seen: Callable[[R], None],
        timeout: float | None,
    ) -> None:
        """Gives `seen` each reply of a stream; None as `timeout` is forever."""
        metadata = channel.metadata_for(request, self._metadata)
        stream = method(request, timeout=timeout, metadata=metadata)
        try:
            async for reply in stream:
                seen(reply)
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.address) from error
        finally:
            stream.cancel()

    async def _pages(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Q, R]",
        request: Q,
        timeout: float | None,
    ) -> AsyncIterator[R]:
        """Yields the replies to a request for a list, page by page."""
        page: Any = request  # each such message has these fields
        page.page_size = _PAGE_SIZE
        while True:
            reply: Any = await self._call(method, page, timeout)
            yield reply
            if not (token := reply.next_page_token):
                return
            page.page_token = token

    def _seconds(self, timeout: float | None, *, at_least: float = 0.0) -> float:
        if timeout is None:
            return max(self.timeout, at_least)
        return channel.check_timeout(timeout)
