"""Backbones behind an extraction server, over TCP or a Unix socket."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.concurrency.demand import Demand
from service.errors import BackboneFailed, PreconditionFailed, Unavailable
from service.extraction import BackboneInfo, Extracted, Extractor, TailRef
from service.extraction.remote_connection import RemoteConnection
from service.extraction.remote_replies import RETRY_AFTER, row_error
from service.extraction.tail_uploads import TailUploads
from service.requests.inputs import RawInput
from service.requests.tensors import from_tensor
from service.tls import Certificates
from trunkline.rows.chunking import split
from trunkline.v1 import common_pb2, extraction_pb2, tails_pb2

CHUNK_ROWS = 128
ACTIVATION_ROWS = 32
"""Rows of activations asked for at once: each takes some 100 kB on the way back."""

Embedded = extraction_pb2.EmbedResponse | tails_pb2.EmbedWithTailResponse


class RemoteExtractor(Extractor):
    """Uses the extraction service at `address`.

    While the server is away, or hangs, this one is not ready and refuses at once, and it resumes by
    itself when the server is back. Tails are uploaded to the server when it needs them.

    Args:
        address: ``host:port``, ``https://host:port``, ``unix:PATH``, or ``dns:///host:port`` for
            several, of which one at a time is used.
        key: that the server wants to be shown; "" if it wants none.
        certificates: whom to trust and what to show, if TLS is spoken.
        own: whether it belongs to this server, so that backbones are loaded and unloaded from here.
    """

    def __init__(
        self,
        address: str,
        *,
        max_message_bytes: int,
        timeout_seconds: float,
        key: str = "",
        certificates: Certificates | None = None,
        own: bool = False,
    ) -> None:
        self._own = own
        self._address = address
        self._max_message_bytes = max_message_bytes
        self._timeout = timeout_seconds
        self._key = key
        self._certificates = certificates
        self._connection: RemoteConnection | None = None
        self._uploads = TailUploads(max_message_bytes // 2)

    async def start(self, on_readiness: Callable[[bool], None]) -> None:
        self._connection = RemoteConnection(
            self._address, self._timeout, on_readiness, self._key, self._certificates
        )

    async def close(self) -> None:
        self._uploads.close()
        if self._connection is not None:
            await self._connection.close()

    @property
    def ready(self) -> bool:
        return self._connection is not None and self._connection.ready

    def backbones(self) -> tuple[BackboneInfo, ...]:
        return self._connected.backbones()

    async def embed(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        deadline: float | None = None,
        demands: Sequence[Demand] = (),
    ) -> list[Extracted | Exception]:
        outcomes: list[Extracted | Exception] = []
        for chunk in self._chunks(inputs, CHUNK_ROWS):
            wanted = demands[len(outcomes) : len(outcomes) + len(chunk)]
            if wanted:
                deadline = _latest(wanted)
                if deadline == -math.inf:  # nobody waits for these any more
                    outcomes.extend(demand.error or _unwanted() for demand in wanted)
                    continue
            reply = (
                await self._embed(tenant, backbone, chunk, deadline)
                if backbone.tail is None
                else await self._embed_with_tail(tenant, backbone, backbone.tail, chunk, deadline)
            )
            outcomes.extend(_extracted(reply, len(chunk), backbone.dim))
        return outcomes

    async def activations(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        prepared: bool,
        deadline: float | None = None,
    ) -> list[NDArray[Any] | Exception]:
        dtypes = ("uint8", "int64") if prepared else ("float16",)
        outcomes: list[NDArray[Any] | Exception] = []
        for chunk in self._chunks(inputs, ACTIVATION_ROWS):
            request = tails_pb2.ComputeActivationsRequest(
                tenant=f"tenants/{tenant}",
                backbone=backbone.name,
                inputs=[raw.to_message() for raw in chunk],
                prepared=prepared,
            )
            connection = self._present
            reply = await connection.call(
                connection.tails.ComputeActivations,
                request,
                tails_pb2.ComputeActivationsResponse,
                deadline,
            )
            if backbone.tail is None:
                _expect(reply.fingerprint == backbone.fingerprint)
            _expect(len(reply.activations) == len(chunk))
            errors = {error.row: row_error(error) for error in reply.errors}
            for row, tensor in enumerate(reply.activations):
                failed = errors.get(row)
                outcomes.append(failed or _finite(tensor, dtypes))
        return outcomes

    def forget_tail(self, fingerprint: str) -> None:
        """Does nothing: the server evicts a tail that is not used any more."""

    async def load_backbone(self, name: str) -> BackboneInfo:
        if not self._own:
            raise self._not_here()
        return await self._present.load_backbone(name)

    async def unload_backbone(self, name: str) -> None:
        if not self._own:
            raise self._not_here()
        await self._present.unload_backbone(name)

    @property
    def _connected(self) -> RemoteConnection:
        if self._connection is None:
            raise Unavailable("the server is starting", retry_after=RETRY_AFTER)
        return self._connection

    @property
    def _present(self) -> RemoteConnection:
        """The connection; calls to a server that is away are not begun, as they would wait."""
        connection = self._connected
        if connection.away:
            raise connection.away_error()
        return connection

    async def _embed(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        deadline: float | None,
    ) -> Embedded:
        request = extraction_pb2.EmbedRequest(
            tenant=f"tenants/{tenant}",
            backbone=backbone.name,
            inputs=[raw.to_message() for raw in inputs],
        )
        connection = self._present
        reply = await connection.call(
            connection.extraction.Embed, request, extraction_pb2.EmbedResponse, deadline
        )
        _expect(reply.fingerprint == backbone.fingerprint)
        return reply

    async def _embed_with_tail(
        self,
        tenant: str,
        backbone: BackboneInfo,
        tail: TailRef,
        inputs: Sequence[RawInput],
        deadline: float | None,
    ) -> Embedded:
        request = tails_pb2.EmbedWithTailRequest(
            tenant=f"tenants/{tenant}",
            backbone=backbone.name,
            tail=tail.fingerprint,
            inputs=[raw.to_message() for raw in inputs],
        )
        return await self._uploads.embed(self._present, request, tail, deadline)

    def _chunks(self, inputs: Sequence[RawInput], max_rows: int) -> Iterator[list[RawInput]]:
        bound = self._max_message_bytes // 2
        return split(inputs, lambda raw: raw.cost, max_rows=max_rows, max_bytes=bound)

    def _not_here(self) -> PreconditionFailed:
        return PreconditionFailed(
            f"extractor: the backbones are those of {self._address}; ask its AdminService",
            field="extractor",
            value=self._address,
        )


def _latest(demands: Sequence[Demand]) -> float | None:
    """Returns the latest deadline of those who wait for any of these rows; None for none."""
    latest = max(demand.deadline for demand in demands)
    return None if latest == math.inf else latest


def _unwanted() -> Unavailable:
    return Unavailable("nobody waits for this input any more", retry_after=RETRY_AFTER)


def _extracted(reply: Embedded, rows: int, dim: int) -> list[Extracted | Exception]:
    vectors = from_tensor(reply.embeddings, field="embeddings", dtypes=("float32",))
    _expect(vectors.shape == (rows, dim))
    timing, truncated = reply.timing, set(reply.truncated)
    outcomes: list[Extracted | Exception] = [
        Extracted(
            vector.astype(np.float32),
            timing.decode_seconds,
            timing.queue_seconds,
            timing.backbone_seconds,
            row in truncated,
            device_seconds=timing.backbone_seconds / rows,
        )
        if np.isfinite(vector).all()
        else BackboneFailed("the embedding of this input is not finite")
        for row, vector in enumerate(vectors)
    ]
    for failed in reply.errors:
        outcomes[failed.row] = row_error(failed)
    return outcomes


def _finite(tensor: common_pb2.Tensor, dtypes: tuple[str, ...]) -> NDArray[Any] | Exception:
    activation = from_tensor(tensor, field="activations", dtypes=dtypes)
    if activation.dtype.kind == "f" and not np.isfinite(activation).all():
        return BackboneFailed("an activation of this input is not finite")
    return activation


def _expect(same: bool) -> None:
    """Raises if the server is not what it was when its backbones were listed."""
    if not same:
        raise Unavailable("the extractor has changed; try again", retry_after=RETRY_AFTER)
