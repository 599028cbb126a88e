"""Tails on their way to an extraction server, which is sent those that it turns out to lack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary

from service.errors import NotFound, PreconditionFailed, Unavailable
from service.extraction import TailRef
from service.extraction.remote_connection import RemoteConnection
from service.extraction.remote_replies import RETRY_AFTER
from trunkline.v1 import tails_pb2

CHUNK_BYTES = 1024 * 1024


class TailUploads:
    """Embeds with tails, and uploads those that the server does not hold.

    Args:
        max_file_bytes: of a tail that is sent in one message with a request, where the server
            takes no streams.
    """

    def __init__(self, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes
        self._uploads: dict[str, asyncio.Task[None]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def close(self) -> None:
        """Ends the uploads under way."""
        for upload in self._uploads.values():
            upload.cancel()

    async def embed(
        self,
        connection: RemoteConnection,
        request: tails_pb2.EmbedWithTailRequest,
        tail: TailRef,
        deadline: float | None,
    ) -> tails_pb2.EmbedWithTailResponse:
        """Makes the call, again with the tail if it was not there.

        Raises:
            ServiceError: what the server answered.
            PreconditionFailed: the tail is too large to be sent with a request.
            Unavailable: the server is away, or has no room for the tail.
        """
        held = await self._call(connection, request, deadline)
        if held is not None:
            return held
        if connection.streams:
            await self._upload_once(connection, request.backbone, tail)
            held = await self._call(connection, request, deadline)
        else:
            held = await self._embed_with_file(connection, request, tail, deadline)
        if held is None:
            raise Unavailable(
                "extractor: it has no room for all tails in use; try again",
                field="tail",
                value=tail.fingerprint,
                retry_after=RETRY_AFTER,
            )
        return held

    async def _call(
        self,
        connection: RemoteConnection,
        request: tails_pb2.EmbedWithTailRequest,
        deadline: float | None,
    ) -> tails_pb2.EmbedWithTailResponse | None:
        """Makes the call; None if the tail is not there."""
        rpc, kind = connection.tails.EmbedWithTail, tails_pb2.EmbedWithTailResponse
        try:
            return await connection.call(rpc, request, kind, deadline)
        except NotFound as error:
            if error.field != "tail":
                raise
        return None

    async def _embed_with_file(
        self,
        connection: RemoteConnection,
        request: tails_pb2.EmbedWithTailRequest,
        tail: TailRef,
        deadline: float | None,
    ) -> tails_pb2.EmbedWithTailResponse | None:
        """Sends the file with the request: of several servers, the one that has it gets both.

        Requests wait for one another; who has waited may find the tail there.
        """
        turn = self._turns.setdefault(tail.fingerprint, asyncio.Lock())
        waits = turn.locked()
        async with turn:
            if waits and (held := await self._call(connection, request, deadline)) is not None:
                return held
            request.file = await tail.read()
            if len(request.file) > self._max_file_bytes:
                raise PreconditionFailed(
                    f"tail: at most {self._max_file_bytes} bytes go with a request, has "
                    f"{len(request.file)}: the extractor takes no streams; raise max_message_bytes "
                    "there and here",
                    field="tail",
                    limit=self._max_file_bytes,
                    value=len(request.file),
                )
            return await self._call(connection, request, deadline)

    async def _upload_once(
        self, connection: RemoteConnection, backbone: str, tail: TailRef
    ) -> None:
        """Uploads a tail's file; rows that wait for the same one share the upload."""
        upload = self._uploads.get(tail.fingerprint)
        if upload is None:
            upload = asyncio.create_task(_upload(connection, backbone, tail))
            self._uploads[tail.fingerprint] = upload
            upload.add_done_callback(lambda done: self._forget_upload(tail.fingerprint, done))
        await asyncio.shield(upload)

    def _forget_upload(self, fingerprint: str, upload: asyncio.Task[None]) -> None:
        del self._uploads[fingerprint]
        if not upload.cancelled():
            upload.exception()  # retrieved, also if all who waited for it have left


async def _upload(connection: RemoteConnection, backbone: str, tail: TailRef) -> None:
    data = await tail.read()

    async def messages() -> AsyncIterator[tails_pb2.HoldTailRequest]:
        yield tails_pb2.HoldTailRequest(backbone=backbone, fingerprint=tail.fingerprint)
        for start in range(0, len(data), CHUNK_BYTES):
            yield tails_pb2.HoldTailRequest(chunk=data[start : start + CHUNK_BYTES])

    await connection.call(connection.tails.HoldTail, messages(), tails_pb2.HoldTailResponse, None)
