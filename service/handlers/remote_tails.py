"""The RPCs of ``TailService``: what a server asks of the extraction server it uses."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from models import InputLimits
from models.tails import tail_fingerprint
from service.embedding.resolver import EmbeddingResolver
from service.errors import InvalidRequest, NotFound, ServiceError
from service.extraction import TailRef
from service.extraction.local import LocalExtractor
from service.extraction.uploaded_tails import Upload, UploadedTails
from service.handlers.backbones import backbone_message, fill_embeddings
from service.replies.rows import row_error
from service.requests.call import Call
from service.requests.fields import check_rows
from service.requests.inputs import RawInput, read_inputs
from service.requests.tensors import to_tensor
from trunkline.resources import TenantName
from trunkline.v1 import tails_pb2

MAX_CHUNK_BYTES = 1024 * 1024

_FINGERPRINT = re.compile("[0-9a-f]{64}")


@dataclass(eq=False)
class TailExtraction:
    """Embeds with tails, for servers elsewhere."""

    _extractor: LocalExtractor
    _embeddings: EmbeddingResolver
    _uploaded: UploadedTails
    _limits: InputLimits
    _max_rows: int

    async def hold_tail(
        self, stream: AsyncIterator[tails_pb2.HoldTailRequest], call: Call
    ) -> tails_pb2.HoldTailResponse:
        """Receives a tail's file and keeps it.

        Raises:
            InvalidRequest: a message is malformed, or the file is not the one that was named.
            PreconditionFailed: the backbone is not loaded, or the file is larger than
                all that may be kept.
            QueueFull: there is no memory for it now.
        """
        with self._uploaded.receive() as upload:
            try:
                fingerprint = await self._receive(stream, upload)
            except ServiceError:
                # Refused while it still sends, grpc.aio's client would not learn why
                # (https://github.com/grpc/grpc/issues/36066).
                async for _ in stream:
                    pass
                raise
            data = await _checked(upload, "fingerprint", fingerprint)
        self._uploaded.keep(fingerprint, data)
        return tails_pb2.HoldTailResponse()

    async def _receive(
        self, stream: AsyncIterator[tails_pb2.HoldTailRequest], upload: Upload
    ) -> str:
        """Fills the upload; returns the fingerprint that the first message names."""
        fingerprint = ""
        async for request in stream:
            if not fingerprint:
                self._extractor.backbone(request.backbone)
                fingerprint = _check_fingerprint("fingerprint", request.fingerprint)
            _check_chunk(request.chunk)
            upload.add(request.chunk)
        return fingerprint

    async def embed_with_tail(
        self, request: tails_pb2.EmbedWithTailRequest, call: Call
    ) -> tails_pb2.EmbedWithTailResponse:
        """Embeds every row with one tail; a row that fails costs itself alone and is zero.

        Raises:
            NotFound: the tail is not held, and its file is not in the request.
            InvalidRequest: the file is not that of the tail.
            PreconditionFailed, QueueFull: there is no room for the file, ever or now.
        """
        started = time.perf_counter()
        tenant = TenantName.parse(request.tenant, field="tenant").tenant
        check_rows("inputs", len(request.inputs), self._max_rows)
        fingerprint = _check_fingerprint("tail", request.tail)
        tail = TailRef(fingerprint, partial(self._uploaded.read, fingerprint))
        backbone = self._extractor.backbone(request.backbone).with_tail(tail)
        if request.file:
            with self._uploaded.receive() as upload:
                upload.add(request.file)
                data = await _checked(upload, "tail", fingerprint)
            self._uploaded.keep(fingerprint, data)
        raws = await read_inputs(request.inputs, self._limits)
        outcomes = await self._embeddings.resolve(tenant, backbone, raws, deadline=call.deadline)
        for outcome in outcomes:
            if isinstance(outcome, NotFound) and outcome.field == "tail":
                raise outcome
        response = tails_pb2.EmbedWithTailResponse()
        fill_embeddings(response, outcomes, backbone.dim, call)
        response.timing.total_seconds = time.perf_counter() - started
        return response

    async def compute_activations(
        self, request: tails_pb2.ComputeActivationsRequest, call: Call
    ) -> tails_pb2.ComputeActivationsResponse:
        """Computes what tails are trained on for every row; a row that fails costs itself alone."""
        tenant = TenantName.parse(request.tenant, field="tenant").tenant
        check_rows("inputs", len(request.inputs), self._max_rows)
        backbone = self._extractor.backbone(request.backbone)
        raws = await read_inputs(request.inputs, self._limits)
        good = [raw for raw in raws if isinstance(raw, RawInput)]
        computed = iter(
            await self._extractor.activations(
                tenant, backbone, good, prepared=request.prepared, deadline=call.deadline
            )
        )
        response = tails_pb2.ComputeActivationsResponse(fingerprint=backbone.fingerprint)
        for row, raw in enumerate(raws):
            outcome = next(computed) if isinstance(raw, RawInput) else raw
            tensor = response.activations.add()
            if isinstance(outcome, Exception):
                response.errors.append(row_error(row, outcome, call.request_id))
            else:
                tensor.CopyFrom(to_tensor(outcome))
        return response

    async def watch_backbones(
        self, request: tails_pb2.WatchBackbonesRequest, call: Call
    ) -> AsyncIterator[tails_pb2.WatchBackbonesResponse]:
        """Sends the loaded backbones, as soon as they are known and at every change."""
        async for backbones in self._extractor.follow_backbones():
            yield tails_pb2.WatchBackbonesResponse(
                backbones=[backbone_message(info) for info in backbones]
            )


async def _checked(upload: Upload, field: str, fingerprint: str) -> bytes:
    """Returns the file that was uploaded, if it is the one that `field` names."""
    data, found = await asyncio.to_thread(_join, upload)
    if found != fingerprint:
        raise InvalidRequest(
            f"{field}: must be that of the file ({found}), is {fingerprint or 'missing'}",
            field=field,
            limit=found,
            value=fingerprint,
        )
    return data


def _join(upload: Upload) -> tuple[bytes, str]:
    data = upload.data()
    return data, tail_fingerprint(data)


def _check_fingerprint(field: str, fingerprint: str) -> str:
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise InvalidRequest.at(
            field, "must be {limit}, is {value!r}", "64 hexadecimal digits", fingerprint
        )
    return fingerprint


def _check_chunk(chunk: bytes) -> None:
    if len(chunk) > MAX_CHUNK_BYTES:
        raise InvalidRequest.at(
            "chunk", "at most {limit} bytes, has {value}", MAX_CHUNK_BYTES, len(chunk)
        )
