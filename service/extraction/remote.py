"""Backbones behind an extraction server, over TCP or a Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from models import Modality
from service.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    PreconditionFailed,
    QueueFull,
    ServiceError,
    Unavailable,
)
from service.extraction import BackboneInfo, Extracted, Extractor
from service.inputs import RawInput, from_tensor
from service.logs import get_logger
from trunkline.status import error_from_rpc
from trunkline.v1 import common_pb2, extraction_pb2, extraction_pb2_grpc

FIRST_RECONNECT_SECONDS = 0.2
LAST_RECONNECT_SECONDS = 5.0
SERVICE = "trunkline.v1.ExtractionService"
RETRY_AFTER = 1.0
CHUNK_ROWS = 128

log = get_logger(__name__)

_ERRORS: dict[str, type[ServiceError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "RESOURCE_EXHAUSTED": QueueFull,
    "FAILED_PRECONDITION": PreconditionFailed,
    "UNAVAILABLE": Unavailable,
    "CANCELLED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}


class RemoteExtractor(Extractor):
    """Uses the extraction service at `address` (``host:port`` or ``unix:PATH``).

    It follows the server's health stream: while the server is away this one is not ready, and it
    takes up work by itself when the server is back.
    """

    def __init__(self, address: str, *, max_message_bytes: int, timeout_seconds: float) -> None:
        self._address = address
        self._max_message_bytes = max_message_bytes
        self._timeout = timeout_seconds
        self._channel: grpc.aio.Channel | None = None
        self._follower: asyncio.Task[None] | None = None
        self._backbones: tuple[BackboneInfo, ...] = ()
        self._ready = False
        self._on_readiness: Callable[[bool], None] = lambda ready: None

    async def start(self, on_readiness: Callable[[bool], None]) -> None:
        self._on_readiness = on_readiness
        self._channel = grpc.aio.insecure_channel(
            self._address,
            options=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.keepalive_time_ms", 10_000),
                ("grpc.keepalive_timeout_ms", 5_000),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 2_000),
                ("grpc.enable_retries", 0),
            ],
        )
        self._stub = extraction_pb2_grpc.ExtractionServiceStub(self._channel)
        self._follower = asyncio.create_task(self._follow_health())

    async def close(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    @property
    def ready(self) -> bool:
        return self._ready

    def backbones(self) -> tuple[BackboneInfo, ...]:
        if not self._backbones:
            raise self._away()
        return self._backbones

    async def embed(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        deadline: float | None = None,
    ) -> list[Extracted | Exception]:
        outcomes: list[Extracted | Exception] = []
        for chunk in self._chunks(inputs):
            outcomes.extend(await self._embed_chunk(tenant, backbone, chunk, deadline))
        return outcomes

    async def _embed_chunk(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        deadline: float | None,
    ) -> list[Extracted | Exception]:
        request = extraction_pb2.EmbedRequest(
            tenant=f"tenants/{tenant}",
            backbone=backbone.name,
            inputs=[raw.to_message() for raw in inputs],
        )
        timeout = self._timeout
        if deadline is not None:
            timeout = min(timeout, deadline - asyncio.get_running_loop().time())
        try:
            response = await self._stub.Embed(request, timeout=max(timeout, 0.0))
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        vectors = from_tensor(response.embeddings, field="embeddings", dtypes=("float32",))
        expected = (backbone.fingerprint, (len(inputs), backbone.dim))
        if (response.fingerprint, vectors.shape) != expected:
            raise Unavailable("the extractor has changed; try again", retry_after=RETRY_AFTER)
        timing = response.timing
        outcomes: list[Extracted | Exception] = [
            Extracted(
                vector.astype(np.float32),
                timing.decode_seconds,
                timing.queue_seconds,
                timing.backbone_seconds,
            )
            for vector in vectors
        ]
        for failed in response.errors:
            outcomes[failed.row] = _row_error(failed)
        return outcomes

    def _chunks(self, inputs: Sequence[RawInput]) -> Iterator[Sequence[RawInput]]:
        chunk: list[RawInput] = []
        size = 0
        for raw in inputs:
            full = len(chunk) == CHUNK_ROWS or size + raw.cost > self._max_message_bytes // 2
            if chunk and full:
                yield chunk
                chunk, size = [], 0
            chunk.append(raw)
            size += raw.cost
        if chunk:
            yield chunk

    async def _follow_health(self) -> None:
        assert self._channel is not None
        health = health_pb2_grpc.HealthStub(self._channel)
        delay = FIRST_RECONNECT_SECONDS
        while True:
            try:
                request = health_pb2.HealthCheckRequest(service=SERVICE)
                async for update in health.Watch(request, wait_for_ready=True):
                    await self._note(update.status == health_pb2.HealthCheckResponse.SERVING)
                    delay = FIRST_RECONNECT_SECONDS
            except grpc.aio.AioRpcError as error:
                log.warning("extractor is away", address=self._address, reason=error.details())
            except Exception:  # whatever an unlike server may answer; it may be replaced
                log.exception("extractor cannot be used", address=self._address)
            self._set_ready(False)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_RECONNECT_SECONDS)

    async def _note(self, serving: bool) -> None:
        if serving:
            response = await self._stub.ListBackbones(
                extraction_pb2.ListBackbonesRequest(), timeout=self._timeout
            )
            self._backbones = tuple(_backbone_info(message) for message in response.backbones)
            log.info("extractor is ready", address=self._address)
        self._set_ready(serving)

    def _set_ready(self, ready: bool) -> None:
        if ready != self._ready:
            self._ready = ready
            self._on_readiness(ready)

    def _translate(self, error: grpc.aio.AioRpcError) -> ServiceError:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return self._away()
        kind = _ERRORS.get(error.code().name, InternalError)
        detail = error_from_rpc(error)
        return kind(
            f"extractor: {detail.message}",
            field=detail.field or None,
            limit=detail.limit or None,
            value=detail.value or None,
            retry_after=detail.retry_after,
        )

    def _away(self) -> Unavailable:
        return Unavailable(
            "the extraction service is away; try again later",
            field="extractor",
            value=self._address,
            retry_after=RETRY_AFTER,
        )


def _backbone_info(message: extraction_pb2.Backbone) -> BackboneInfo:
    return BackboneInfo(
        name=message.name,
        modality=Modality(message.modality),
        dim=message.dim,
        fingerprint=message.fingerprint,
        engine=message.engine,
        device=message.device,
        ready=message.ready,
    )


def _row_error(error: common_pb2.RowError) -> ServiceError:
    kind = _ERRORS.get(error.code, InternalError)
    return kind(
        error.message,
        field=error.field or None,
        limit=error.limit or None,
        value=error.value or None,
    )
