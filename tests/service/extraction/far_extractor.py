"""An extraction server in this process, the way to it, and what uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.extraction.remote import RemoteExtractor
from service.requests.tensors import to_tensor
from service.tls import Certificates
from tests.service.tiny_backbone import DIM, FINGERPRINT, vector_of
from tests.service.waiting import Changes
from trunkline.v1 import extraction_pb2, extraction_pb2_grpc, tails_pb2, tails_pb2_grpc


class Far(
    extraction_pb2_grpc.ExtractionServiceServicer,
    tails_pb2_grpc.TailServiceServicer,
    health_pb2_grpc.HealthServicer,  # type: ignore[misc]  # it has no types
):
    """Lists one backbone, and answers with that fingerprint or another.

    Its handlers wait while `answers` is not set, as if its event loop hung, and those that embed
    while `embeds` is not; gRPC answers pings all the same. While it is `full`, it refuses checks.
    `serve` changes what it says of its health.
    """

    def __init__(self) -> None:
        self.fingerprint = FINGERPRINT
        self.asked: list[list[str]] = []
        self.truncated: list[int] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.embeds = asyncio.Event()
        self.embeds.set()
        self.full = False
        self.serves = True
        self.checks = 0
        self.shown: list[bytes] = []
        self.changes = Changes()

    @asynccontextmanager
    async def serving(
        self, credentials: grpc.ServerCredentials | None = None, at: str = "127.0.0.1:0"
    ) -> AsyncIterator[int]:
        """Listens on a port of loopback, which it gives; over TLS with `credentials`."""
        server = grpc.aio.server()
        self.add_to(server)
        port = (
            server.add_insecure_port(at)
            if credentials is None
            else server.add_secure_port(at, credentials)
        )
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers what it answers."""
        extraction_pb2_grpc.add_ExtractionServiceServicer_to_server(self, server)
        tails_pb2_grpc.add_TailServiceServicer_to_server(self, server)
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        self.checks += 1
        self.changes.notify()
        await self.answers.wait()
        if self.full:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls")
        return self._state()

    def _state(self) -> health_pb2.HealthCheckResponse:
        states = health_pb2.HealthCheckResponse
        return states(status=states.SERVING if self.serves else states.NOT_SERVING)

    async def until_asked(self) -> None:
        """Returns once it was asked for embeddings."""
        await self.changes.until(lambda: bool(self.asked))

    def serve(self, *, on: bool) -> None:
        """Tells watchers that it serves, or does not."""
        self.serves = on
        self.changes.notify()

    async def Watch(
        self, request: Any, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        while True:
            told = await self.Check(request, context)
            yield told
            await self.changes.until(lambda: self._state() != told)  # noqa: B023  # awaited here

    async def WatchBackbones(
        self, request: tails_pb2.WatchBackbonesRequest, context: Any
    ) -> AsyncIterator[tails_pb2.WatchBackbonesResponse]:
        await self.answers.wait()
        listed = extraction_pb2.Backbone(
            name="tiny/text", modality="text", dim=DIM, fingerprint=FINGERPRINT, ready=True
        )
        yield tails_pb2.WatchBackbonesResponse(backbones=[listed])
        await asyncio.Event().wait()

    async def Embed(
        self, request: extraction_pb2.EmbedRequest, context: Any
    ) -> extraction_pb2.EmbedResponse:
        self.asked.append([row.text for row in request.inputs])
        self.shown.extend(context.auth_context().get("x509_pem_cert", []))
        self.changes.notify()
        await self.embeds.wait()
        return extraction_pb2.EmbedResponse(
            fingerprint=self.fingerprint,
            embeddings=to_tensor(self.vector(request.inputs[0].text)[None]),
            truncated=self.truncated,
        )

    async def ComputeActivations(
        self, request: tails_pb2.ComputeActivationsRequest, context: Any
    ) -> tails_pb2.ComputeActivationsResponse:
        rows = [to_tensor(self.vector(row.text).astype("float16")) for row in request.inputs]
        return tails_pb2.ComputeActivationsResponse(fingerprint=self.fingerprint, activations=rows)

    async def ListBackbones(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def HoldTail(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def EmbedWithTail(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def vector(self, text: str) -> Any:
        """Another backbone makes something else of a text."""
        return vector_of(text) if self.fingerprint == FINGERPRINT else -vector_of(text)


class Wire:
    """The way to a server, which can be cut, or swallow what is sent."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[int]:
        """Lays it from a port of loopback, which it gives."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            self._open.set()
            self.cut()

    def cut(self) -> None:
        """Resets all connections; new ones are carried."""
        for writer in self._writers:
            writer.transport.abort()

    def swallow(self, *, on: bool) -> None:
        """Carries nothing in either direction while it is on; nobody is told."""
        if on:
            self._open.clear()
        else:
            self._open.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        mine = {writer, far_writer}
        self._writers |= mine
        try:
            await asyncio.gather(
                self._forward(reader, far_writer), self._forward(far_reader, writer)
            )
        except ConnectionError:
            pass  # it was cut
        finally:
            self._writers -= mine
            for end in mine:
                end.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError  # the other direction ends, too


class Link:
    """What uses a server, and the changes of its readiness."""

    def __init__(
        self, port: int, certificates: Certificates | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.changes = Changes()
        self.readiness: list[bool] = []
        self.extractor = RemoteExtractor(
            f"{host}:{port}",
            max_message_bytes=1 << 20,
            timeout_seconds=60,
            certificates=certificates,
        )

    def hear(self, ready: bool) -> None:
        self.readiness.append(ready)
        self.changes.notify()

    async def until(self, *, ready: bool) -> None:
        await self.changes.until(lambda: self.extractor.ready is ready)


@asynccontextmanager
async def connected(
    port: int, certificates: Certificates | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Link]:
    """One that has heard from the server."""
    link = Link(port, certificates, host)
    await link.extractor.start(link.hear)
    try:
        await link.until(ready=True)
        yield link
    finally:
        await link.extractor.close()
