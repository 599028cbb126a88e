"""The connection to an extraction server: its backbones, its health and its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from models import Modality
from service.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    QueueFull,
    ServiceError,
    Unavailable,
)
from service.extraction import BackboneInfo
from service.logs import get_logger
from service.tls import Certificates
from trunkline.connection.addresses import target_of
from trunkline.connection.status import error_from_rpc
from trunkline.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    common_pb2,
    extraction_pb2,
    extraction_pb2_grpc,
    tails_pb2,
    tails_pb2_grpc,
)

FIRST_RECONNECT_SECONDS = 0.2
LAST_RECONNECT_SECONDS = 5.0
PROBE_SECONDS = 4.0
"""Time from one answer until the server is asked again whether it still answers."""
ANSWER_SECONDS = 8.0
"""Time that it has to answer. gRPC's own pings are answered also by a server that hangs, as long as
its process runs."""
SERVICE = "trunkline.v1.ExtractionService"
RETRY_AFTER = 1.0
LOAD_SECONDS = 3600.0
"""For a backbone to be downloaded, exported and warmed up."""
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
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

METADATA = (("x-max-reply-bytes", str(2**31 - 1)),)
"""Says that a reply of any size is taken."""

M = TypeVar("M", bound=Message)

log = get_logger(__name__)

_ERRORS: dict[str, type[ServiceError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": NotFound,
    "RESOURCE_EXHAUSTED": QueueFull,
    "FAILED_PRECONDITION": PreconditionFailed,
    "UNAVAILABLE": Unavailable,
    "CANCELLED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}


class _Renewed(Exception):
    """There is another channel."""


class RemoteConnection:
    """Follows the server's health and backbones, and reconnects by itself when it is back.

    A server that hangs is away like one that is gone: it is asked every `PROBE_SECONDS` whether it
    answers, and has `ANSWER_SECONDS` for it. Calls under way end as soon as it is away.

    Args:
        address: ``host:port``, ``https://host:port`` or ``unix:PATH``.
        timeout_seconds: timeout of a call that has no deadline.
        on_readiness: is called at every change.
        key: that the server wants to be shown; "" if it wants none.
        certificates: whom to trust and what to show, if TLS is spoken. When they change, calls from
            then on take a connection of their own, and those under way end on the one before.

    Attributes:
        ready: whether the server answers and says that its backbones do.
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
        reply = await self._ask(self._admin.LoadBackbone, request, admin_pb2.LoadBackboneResponse)
        info = backbone_info(reply.backbone)
        others = (known for known in self._backbones or () if known.name != info.name)
        self._backbones = (*others, info)  # as it is about to say itself
        return info

    async def unload_backbone(self, name: str) -> None:
        """Has the server unload a backbone."""
        request = admin_pb2.UnloadBackboneRequest(name=name)
        rpc = self._admin.UnloadBackbone
        reply = await self._ask(rpc, request, admin_pb2.UnloadBackboneResponse)
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
        return await self._ask(rpc, request, reply, timeout)

    async def _ask(
        self,
        rpc: Callable[..., Any],
        request: Any,
        reply: type[M],
        timeout: float = LOAD_SECONDS,
    ) -> M:
        work = asyncio.ensure_future(
            rpc(request, timeout=max(timeout, 0.0), metadata=self._metadata)
        )
        try:
            await asyncio.wait([work, self._lost], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise self.away_error()
            message = work.result()
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
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
        if self._certificates is None:
            self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        else:
            credentials = self._certificates.channel_credentials()
            self._channel = grpc.aio.secure_channel(target, credentials, options=OPTIONS)
        self.extraction: Any = extraction_pb2_grpc.ExtractionServiceStub(self._channel)
        self.tails: Any = tails_pb2_grpc.TailServiceStub(self._channel)
        self._admin: Any = admin_pb2_grpc.AdminServiceStub(self._channel)

    def _renew(self) -> None:
        """Takes another channel: gRPC's keep the certificate that they began with."""
        before = self._channel
        self._open_channel()
        self._renewed.set()
        closing = asyncio.create_task(before.close(self._timeout))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _follow(self) -> None:
        delay = FIRST_RECONNECT_SECONDS
        while True:
            streams = [
                asyncio.create_task(self._follow_health()),
                asyncio.create_task(self._follow_backbones()),
                asyncio.create_task(self._probe()),
                asyncio.create_task(self._until_renewed()),
            ]
            try:
                await asyncio.gather(*streams)
            except _Renewed:
                continue  # over the new channel; the server is not away
            except grpc.aio.AioRpcError as error:
                log.warning(
                    "extractor is away",
                    address=self._address,
                    code=error.code().name,
                    reason=error.details(),
                )
            except Exception:  # another kind of server answered; it may be replaced
                log.exception("extractor cannot be used", address=self._address)
            finally:
                for stream in streams:
                    stream.cancel()
                await asyncio.gather(*streams, return_exceptions=True)
            delay = delay if self.away else FIRST_RECONNECT_SECONDS
            self._update(serving=False, listed=False)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_RECONNECT_SECONDS)

    async def _until_renewed(self) -> None:
        await self._renewed.wait()
        self._renewed.clear()
        raise _Renewed

    async def _follow_health(self) -> None:
        watch = health_pb2_grpc.HealthStub(self._channel).Watch
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        async for update in watch(request, wait_for_ready=True):
            self._update(serving=update.status == health_pb2.HealthCheckResponse.SERVING)

    async def _follow_backbones(self) -> None:
        request = tails_pb2.WatchBackbonesRequest()
        async for update in self.tails.WatchBackbones(
            request, wait_for_ready=True, metadata=self._metadata
        ):
            self._backbones = tuple(backbone_info(message) for message in update.backbones)
            names = [info.name for info in self._backbones]
            log.info("extractor runs", backbones=names, address=self._address)
            self._update(listed=True)

    async def _probe(self) -> None:
        """Asks a server that has been heard of again and again whether it answers.

        Raises:
            grpc.aio.AioRpcError: it does not.
        """
        await self._listed.wait()
        check = health_pb2_grpc.HealthStub(self._channel).Check
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await check(request, timeout=ANSWER_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise  # one that is too busy for a call has answered it

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

    def _translate(self, error: grpc.aio.AioRpcError) -> ServiceError:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return self.away_error()
        kind = _ERRORS.get(error.code().name, InternalError)
        detail = error_from_rpc(error)
        return kind(
            f"extractor: {detail.message}",
            field=detail.field or None,
            limit=detail.limit or None,
            value=detail.value or None,
            retry_after=detail.retry_after,
        )


def row_error(error: common_pb2.RowError) -> ServiceError:
    """Converts the error of one row of a reply."""
    kind = _ERRORS.get(error.code, InternalError)
    return kind(
        error.message,
        field=error.field or None,
        limit=error.limit or None,
        value=error.value or None,
    )


def backbone_info(message: extraction_pb2.Backbone) -> BackboneInfo:
    """Converts the server's description of a backbone."""
    return BackboneInfo(
        name=message.name,
        modality=Modality(message.modality),
        dim=message.dim,
        fingerprint=message.fingerprint,
        engine=message.engine,
        device=message.device,
        ready=message.ready,
        cut=message.cut,
        tail_blocks=tuple(message.tail_blocks),
    )
