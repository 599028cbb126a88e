"""The connection to an extraction server: its backbones, its health and its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.errors import Unavailable
from service.extraction import BackboneInfo
from service.extraction.remote_choice import drawing_options, lasting
from service.extraction.remote_replies import (
    RETRY_AFTER,
    backbone_info,
    reason_of,
    service_error,
)
from service.logs import get_logger
from service.requests.time_left import TIME_LEFT_KEY
from service.tls import Certificates
from trunkline.connection.addresses import is_balanced, target_of
from trunkline.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    extraction_pb2,
    extraction_pb2_grpc,
    tails_pb2,
    tails_pb2_grpc,
)

FIRST_RECONNECT_SECONDS = 0.2
LAST_RECONNECT_SECONDS = 5.0
LAST_DRAW_SECONDS = 1.0
"""The same where there are several: the next one that is drawn may answer."""
PROBE_SECONDS = 4.0
"""Time from one answer until the server is asked again whether it still answers."""
ANSWER_SECONDS = 8.0
"""Time that it has to answer. gRPC's own pings are answered also by a server that hangs, as long as
its process runs."""
SERVICE = "trunkline.v1.ExtractionService"
LOAD_SECONDS = 3600.0
"""For a backbone to be downloaded, exported and warmed up."""
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 64 * 1024),  # of an error, to which a proxy may add a trace
    # A dead connection is closed, so that another one is made: more often than every 5 s is abuse
    # to the server, and the second timeout, of which the first is a part, is a minute by default.
    ("grpc.keepalive_time_ms", 7_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),
)

METADATA = (("x-max-reply-bytes", str(2**31 - 1)), ("application", "trunkline"))
"""Says that a reply of any size is taken; and to Ray Serve, where there are others, which
application is meant."""

M = TypeVar("M", bound=Message)

log = get_logger(__name__)


class _Renewed(Exception):
    """There is another channel."""


class RemoteConnection:
    """Follows the server's health and backbones, and reconnects by itself when it is back.

    A server that hangs is away like one that is gone: it is asked every `PROBE_SECONDS` whether it
    answers, and has `ANSWER_SECONDS` for it. Calls under way end as soon as it is away.

    One behind a proxy that passes no streams on, and does not know gRPC's health service, is asked
    for its backbones in place of both.

    Args:
        address: ``host:port``, ``https://host:port`` or ``unix:PATH``; ``dns:///host:port`` for
            several servers, of which one is drawn, and another where that does not serve.
        timeout_seconds: timeout of a call that has no deadline.
        on_readiness: is called at every change.
        key: that the server wants to be shown; "" if it wants none.
        certificates: whom to trust and what to show, if TLS is spoken. When they change, calls from
            then on take a connection of their own, and those under way end on the one before.

    Attributes:
        ready: whether the server answers and says that its backbones do.
        streams: whether it sends and takes streams.
        extraction, tails: stubs.
    """

    def __init__(
        self,
        address: str,
        timeout_seconds: float,
        on_readiness: Callable[[bool], None],
        key: str = "",
        certificates: Certificates | None = None,
    ) -> None:
        self._address = address
        self._timeout = timeout_seconds
        self._on_readiness = on_readiness
        self._backbones: tuple[BackboneInfo, ...] | None = None
        self._serving = False
        self._listed = asyncio.Event()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready = False
        self.streams = True
        shown = (("authorization", f"Bearer {key}"),) if key else ()
        self._metadata = (*METADATA, *shown)
        self._certificates = certificates
        self._renewed = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._open_channel()
        if certificates is not None:
            certificates.on_change(self._renew)
        self._follower = asyncio.create_task(self._follow())

    @property
    def away(self) -> bool:
        """Whether the server does not answer; its backbones may fail also where it does."""
        return not self._listed.is_set()

    async def close(self) -> None:
        """Closes the connection."""
        self._follower.cancel()
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(self._follower, *self._closing, return_exceptions=True)
        await self._channel.close()

    def backbones(self) -> tuple[BackboneInfo, ...]:
        """Returns the backbones that the server runs, or ran when it was last there.

        Raises:
            Unavailable: it has not been there yet.
        """
        if self._backbones is None:
            raise self.away_error()
        return self._backbones

    async def load_backbone(self, name: str) -> BackboneInfo:
        """Has the server load a backbone."""
        request = admin_pb2.LoadBackboneRequest(name=name)
        reply = await self._send(self._admin.LoadBackbone, request, admin_pb2.LoadBackboneResponse)
        info = backbone_info(reply.backbone)
        others = (known for known in self._backbones or () if known.name != info.name)
        self._backbones = (*others, info)  # as it is about to say itself
        return info

    async def unload_backbone(self, name: str) -> None:
        """Has the server unload a backbone."""
        request = admin_pb2.UnloadBackboneRequest(name=name)
        rpc = self._admin.UnloadBackbone
        reply = await self._send(rpc, request, admin_pb2.UnloadBackboneResponse)
        self._backbones = tuple(backbone_info(message) for message in reply.backbones)

    async def call(
        self, rpc: Callable[..., Any], request: Any, reply: type[M], deadline: float | None
    ) -> M:
        """Makes a call.

        Args:
            request: a message, or an iterator of them.
            reply: the type of the reply.
            deadline: on the event loop's clock.

        Raises:
            ServiceError: what the server answered.
            Unavailable: it is away.
        """
        timeout = self._timeout
        if deadline is not None:
            timeout = min(timeout, deadline - asyncio.get_running_loop().time())
        return await self._send(rpc, request, reply, timeout)

    async def _send(
        self,
        rpc: Callable[..., Any],
        request: Any,
        reply: type[M],
        timeout: float = LOAD_SECONDS,
    ) -> M:
        timeout = max(timeout, 0.0)
        metadata = (*self._metadata, (TIME_LEFT_KEY, f"{timeout:.4f}"))
        work = asyncio.ensure_future(rpc(request, timeout=timeout, metadata=metadata))
        try:
            await asyncio.wait([work, self._lost], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise self.away_error()
            message = work.result()
        except grpc.aio.AioRpcError as error:
            raise service_error(error, self.away_error()) from error
        finally:
            work.cancel()
        assert isinstance(message, reply)
        return message

    def away_error(self) -> Unavailable:
        """Returns the error of calls that cannot be served now."""
        return Unavailable(
            "the extraction service is away; try again later",
            field="extractor",
            value=self._address,
            retry_after=RETRY_AFTER,
        )

    def _open_channel(self) -> None:
        target = target_of(self._address)
        options = (*OPTIONS, *drawing_options(self._address))
        if self._certificates is None:
            self._channel = grpc.aio.insecure_channel(target, options=options)
        else:
            credentials = self._certificates.channel_credentials()
            self._channel = grpc.aio.secure_channel(target, credentials, options=options)
        self.extraction: Any = extraction_pb2_grpc.ExtractionServiceStub(self._channel)
        self.tails: Any = tails_pb2_grpc.TailServiceStub(self._channel)
        self._admin: Any = admin_pb2_grpc.AdminServiceStub(self._channel)

    def _renew(self) -> None:
        """Takes another channel, and follows the server there; the one before was not away."""
        self._exchange_channel()
        self._renewed.set()

    def _exchange_channel(self) -> None:
        """Takes another channel: gRPC's keep their certificate, and their server if it hangs."""
        before = self._channel
        self._open_channel()
        closing = asyncio.create_task(before.close(self._timeout))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _follow(self) -> None:
        delay = FIRST_RECONNECT_SECONDS
        while True:
            renewed = await self._follow_channel()
            if self._serving or not (renewed or self.away):
                delay = FIRST_RECONNECT_SECONDS
            if not renewed:
                self._update(serving=False, listed=False)
                if is_balanced(self._address):
                    self._exchange_channel()
            elif self._serving:
                continue
            await asyncio.sleep(delay)
            longest = LAST_DRAW_SECONDS if is_balanced(self._address) else LAST_RECONNECT_SECONDS
            delay = min(2 * delay, longest)

    async def _follow_channel(self) -> bool:
        """Returns once there is another way to follow the server (True), or it is away (False)."""
        heard = (
            (self._follow_health(), self._follow_backbones(), self._probe())
            if self.streams
            else (self._ask(),)
        )
        streams = [asyncio.create_task(one) for one in (*heard, self._until_renewed())]
        try:
            await asyncio.gather(*streams)
        except _Renewed:
            return True
        except grpc.aio.AioRpcError as error:
            if self.streams and error.code() is grpc.StatusCode.UNIMPLEMENTED:
                self.streams = False
                return True
            self.streams = True  # what answers there next may be another kind of server
            log.warning(
                "extractor is away",
                address=self._address,
                code=error.code().name,
                reason=reason_of(error),
            )
        except Exception:  # another kind of server answered; it may be replaced
            log.exception("extractor cannot be used", address=self._address)
        finally:
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        return False

    async def _until_renewed(self) -> None:
        try:
            async with asyncio.timeout(lasting(self._address)):
                await self._renewed.wait()
        except TimeoutError:
            self._renew()
        self._renewed.clear()
        raise _Renewed

    async def _follow_health(self) -> None:
        watch = health_pb2_grpc.HealthStub(self._channel).Watch
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        async for update in watch(request, wait_for_ready=True):
            serving = update.status == health_pb2.HealthCheckResponse.SERVING
            self._update(serving=serving)
            if not serving and is_balanced(self._address):
                self._renew()  # another one may serve

    async def _follow_backbones(self) -> None:
        request = tails_pb2.WatchBackbonesRequest()
        async for update in self.tails.WatchBackbones(
            request, wait_for_ready=True, metadata=self._metadata
        ):
            self._take(update.backbones)
            self._update(listed=True)

    async def _ask(self) -> None:
        """Asks a server that sends no streams for its backbones, again and again.

        Raises:
            grpc.aio.AioRpcError: it does not answer.
        """
        request = extraction_pb2.ListBackbonesRequest()
        while True:
            with _busy_is_an_answer():
                reply = await self.extraction.ListBackbones(
                    request, timeout=ANSWER_SECONDS, metadata=self._metadata
                )
                self._take(reply.backbones)
                self._update(serving=all(one.ready for one in reply.backbones), listed=True)
            await asyncio.sleep(PROBE_SECONDS)

    def _take(self, messages: Iterable[extraction_pb2.Backbone]) -> None:
        """Takes in the backbones that the server runs."""
        backbones = tuple(backbone_info(message) for message in messages)
        if backbones != self._backbones or self.away:
            names = [info.name for info in backbones]
            log.info("extractor runs", backbones=names, address=self._address)
        self._backbones = backbones

    async def _probe(self) -> None:
        """Asks a server that has been heard of again and again whether it answers.

        Raises:
            grpc.aio.AioRpcError: it does not.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS if is_balanced(self._address) else None):
                await self._listed.wait()
        except TimeoutError:
            self._renew()  # where there are several, another one may answer
        check = health_pb2_grpc.HealthStub(self._channel).Check
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            with _busy_is_an_answer():
                await check(request, timeout=ANSWER_SECONDS)

    def _update(self, *, serving: bool | None = None, listed: bool | None = None) -> None:
        """Takes in what was heard; ready needs both since the server was last away."""
        self._serving = self._serving if serving is None else serving
        if listed:
            self._listed.set()
        elif listed is not None:
            self._listed.clear()
            self._lost.set_result(None)
            self._lost = asyncio.get_running_loop().create_future()
        ready = self._serving and not self.away
        if ready != self.ready:
            self.ready = ready
            self._on_readiness(ready)


@contextmanager
def _busy_is_an_answer() -> Iterator[None]:
    """Lets pass that a server is too busy for a call: it has answered it."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
