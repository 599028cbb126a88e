"""The RPCs ``Embed``, ``ListBackbones``, ``LoadBackbone`` and ``UnloadBackbone``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models import InputLimits
from service.concurrency.tasks import UninterruptedTasks
from service.embedding.default_backbone import named_or_default
from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.errors import InvalidRequest, PermissionDenied
from service.extraction import BackboneInfo, Extractor
from service.replies.messages import message_of
from service.replies.rows import note_longest, row_error
from service.requests.call import Call
from service.requests.fields import check_rows
from service.requests.inputs import RawInput, read_inputs
from service.requests.reply_size import check_reply
from service.requests.tensors import FLOAT_BYTES, to_tensor
from trunkline.resources import TenantName
from trunkline.v1 import admin_pb2, extraction_pb2, tails_pb2


@dataclass(eq=False)
class Extraction:
    """Embeds inputs, for clients and for servers elsewhere, and lists backbones."""

    _extractor: Extractor
    _embeddings: EmbeddingResolver
    _limits: InputLimits
    _max_rows: int

    async def embed(
        self, request: extraction_pb2.EmbedRequest, call: Call
    ) -> extraction_pb2.EmbedResponse:
        """Embeds every row; a row that fails costs itself alone and is zero."""
        started = time.perf_counter()
        tenant = TenantName.parse(request.tenant, field="tenant").tenant
        check_rows("inputs", len(request.inputs), self._max_rows)
        raws = await read_inputs(request.inputs, self._limits)
        backbone = named_or_default(self._extractor, request.backbone, raws)
        check_reply(call, len(raws), FLOAT_BYTES * backbone.dim)
        outcomes = await self._embeddings.resolve(tenant, backbone, raws, deadline=call.deadline)
        response = extraction_pb2.EmbedResponse(
            backbone=backbone.name,
            fingerprint=backbone.fingerprint,
            digests=[raw.digest if isinstance(raw, RawInput) else "" for raw in raws],
        )
        fill_embeddings(response, outcomes, backbone.dim, call)
        response.timing.total_seconds = time.perf_counter() - started
        return response

    async def list_backbones(
        self, request: extraction_pb2.ListBackbonesRequest, call: Call
    ) -> extraction_pb2.ListBackbonesResponse:
        """Lists the backbones that are loaded."""
        return extraction_pb2.ListBackbonesResponse(
            backbones=[backbone_message(info) for info in self._extractor.backbones()]
        )


@dataclass(eq=False)
class Admin:
    """Loads and unloads backbones: for operators, or, without keys, on the server's own machine."""

    _extractor: Extractor
    _tasks: UninterruptedTasks

    async def load_backbone(
        self, request: admin_pb2.LoadBackboneRequest, call: Call
    ) -> admin_pb2.LoadBackboneResponse:
        """Loads a backbone; goes on if the caller leaves.

        Raises:
            PermissionDenied: no key is asked for, and the caller is on another machine.
            InvalidRequest: there is no such backbone.
            PreconditionFailed: it cannot be loaded.
        """
        _check(request.name, call)
        info = await self._tasks.run(self._extractor.load_backbone(request.name))
        return admin_pb2.LoadBackboneResponse(backbone=backbone_message(info))

    async def unload_backbone(
        self, request: admin_pb2.UnloadBackboneRequest, call: Call
    ) -> admin_pb2.UnloadBackboneResponse:
        """Unloads a backbone, heads or no heads; goes on if the caller leaves.

        Raises:
            PermissionDenied: no key is asked for, and the caller is on another machine.
            PreconditionFailed: it is not loaded.
        """
        _check(request.name, call)
        await self._tasks.run(self._extractor.unload_backbone(request.name))
        return admin_pb2.UnloadBackboneResponse(
            backbones=[backbone_message(info) for info in self._extractor.backbones()]
        )


def fill_embeddings(
    response: extraction_pb2.EmbedResponse | tails_pb2.EmbedWithTailResponse,
    outcomes: Sequence[Resolved | Exception],
    dim: int,
    call: Call,
) -> None:
    """Puts embeddings, errors and the longest times into a response."""
    matrix = np.zeros((len(outcomes), dim), dtype=np.float32)
    for row, outcome in enumerate(outcomes):
        if isinstance(outcome, Resolved):
            matrix[row] = outcome.vector
            note_longest(response.timing, [outcome])
            if outcome.truncated:
                response.truncated.append(row)
        else:
            response.errors.append(row_error(row, outcome, call.request_id))
    response.embeddings.CopyFrom(to_tensor(matrix))


def backbone_message(info: BackboneInfo) -> extraction_pb2.Backbone:
    """Describes a backbone to a client."""
    return message_of(extraction_pb2.Backbone, info, modality=info.modality.value)


def _check(name: str, call: Call) -> None:
    if not call.local and not call.caller.key:
        raise PermissionDenied(
            f"{call.method}: where no key is asked for, it may be asked on the server's own "
            "machine only",
            field="peer",
        )
    if not name:
        raise InvalidRequest("name: must not be empty", field="name", limit="a backbone", value="")
