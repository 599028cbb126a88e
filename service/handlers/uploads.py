"""The RPCs that upload examples: which inputs are missing, and adding them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from service.config import ServerSettings
from service.embedding.head_backbones import current_backbone, head_backbone
from service.embedding.resolved import Resolved, new_example
from service.embedding.resolver import EmbeddingResolver
from service.embedding.view_embeddings import ViewEmbeddings, wanted_views
from service.errors import InvalidRequest
from service.extraction import BackboneInfo, Extractor
from service.replies.uploads import UploadReply
from service.requests.call import Call
from service.requests.fields import (
    check_external_id,
    check_group,
    check_label,
    check_rows,
    check_weight,
)
from service.requests.inputs import RawInput, check_digest, read_inputs
from service.requests.metadata import check_metadata, metadata_of
from service.store import Database, kept_inputs
from service.store import embeddings as stored_embeddings
from service.store import examples as stored_examples
from service.store import heads as stored_heads
from service.store.examples import NewExample, StoredRows
from service.store.head_records import HeadRecord
from service.store.view_digests import view_digest
from trunkline.labels import normalised
from trunkline.resources import HeadName
from trunkline.v1 import heads_pb2

MAX_DIGESTS = 10_000


@dataclass(eq=False)
class Uploads:
    """Finds inputs that a client must send, and adds examples."""

    _database: Database
    _extractor: Extractor
    _embeddings: EmbeddingResolver
    _views: ViewEmbeddings
    _settings: ServerSettings

    async def find_missing_inputs(
        self, request: heads_pb2.FindMissingInputsRequest, call: Call
    ) -> heads_pb2.FindMissingInputsResponse:
        """Returns which inputs a client must send, because a digest would not do."""
        check_rows("digests", len(request.digests), MAX_DIGESTS)
        digests = [check_digest(digest) for digest in request.digests]
        head = await self._head(request.head)
        current_backbone(self._extractor, head)
        if head.keep_inputs:
            known = await self._database.read(kept_inputs.kept_digests, head.uid, digests)
        elif count := wanted_views(head, head_backbone(self._extractor, head)):
            known = await self._database.read(_augmented, head, digests, count)
        else:
            known = await self._database.read(stored_embeddings.known_digests, head, digests)
            known |= self._embeddings.cached(head.tenant, head.fingerprint, digests)
        return heads_pb2.FindMissingInputsResponse(
            missing=[d for d in dict.fromkeys(request.digests) if d.lower() not in known]
        )

    async def add_examples(
        self, requests: AsyncIterator[heads_pb2.AddExamplesRequest], call: Call
    ) -> heads_pb2.AddExamplesResponse:
        """Stores each message of the stream before it takes the next."""
        told = UploadReply(call.request_id)
        head: HeadRecord | None = None
        async for request in requests:
            if head is None:
                head = await self._head(request.head)
                call.tenant = head.tenant
            elif request.head not in ("", head.resource):
                raise InvalidRequest(
                    f"head: a stream is for one head ({head.resource}), is {request.head[:200]}",
                    field="head",
                    limit=head.resource,
                    value=request.head,
                )
            await self._add_rows(head, request, told, call)
        if head is None:
            raise InvalidRequest.at("head", "the stream had no message", "one message", 0)
        return told.message

    async def _add_rows(
        self,
        head: HeadRecord,
        request: heads_pb2.AddExamplesRequest,
        told: UploadReply,
        call: Call,
    ) -> None:
        check_rows("examples", len(request.examples), self._settings.max_rows_per_request)
        backbone = head_backbone(self._extractor, head)
        new, errors = await self._embed(head, backbone, request.examples, call)
        stored = StoredRows([], [])
        if new:
            stored = await self._database.write(
                stored_examples.store_examples,
                head.uid,
                list(new.values()),
                max_examples=self._settings.max_examples_per_head,
                fingerprint=head.fingerprint,
                earlier=told.given,
                overwrite=request.overwrite,
            )
        told.add(len(request.examples), new, stored, errors)

    async def _embed(
        self,
        head: HeadRecord,
        backbone: BackboneInfo,
        rows: Sequence[heads_pb2.NewExample],
        call: Call,
    ) -> tuple[dict[int, NewExample], dict[int, Exception]]:
        """Returns the examples of the rows, and errors of those that have none."""
        inputs = await read_inputs([row.input for row in rows], self._settings.input_limits)
        raws = [self._checked(row, raw) for row, raw in zip(rows, inputs, strict=True)]
        resolved = await self._embeddings.resolve(
            head.tenant, backbone, raws, deadline=call.deadline, look_in_store=True
        )
        good = [
            raw
            for raw, outcome in zip(raws, resolved, strict=True)
            if isinstance(raw, RawInput) and isinstance(outcome, Resolved)
        ]
        views = await self._views.of_new(head, backbone, good, call.deadline)
        new: dict[int, NewExample] = {}
        errors: dict[int, Exception] = {}
        for i, (row, raw, outcome) in enumerate(zip(rows, raws, resolved, strict=True)):
            if isinstance(outcome, Exception):
                errors[i] = outcome
            elif isinstance(raw, RawInput):
                example = new_example(
                    raw,
                    outcome,
                    normalised(row.label) if row.HasField("label") else None,
                    "upload",
                    keep_input=head.keep_inputs,
                    weight=row.weight if row.HasField("weight") else None,
                    held_out=row.held_out,
                    group=normalised(row.group) if row.HasField("group") else None,
                    external_id=row.external_id if row.HasField("external_id") else None,
                    metadata=metadata_of(row),
                )
                new[i] = replace(example, views=views.get(raw.digest, {}))
        return new, errors

    def _checked(
        self, row: heads_pb2.NewExample, raw: RawInput | Exception
    ) -> RawInput | Exception:
        try:
            if row.HasField("label"):
                check_label(row.label, self._settings.max_label_bytes)
            if row.HasField("weight"):
                check_weight(row.weight)
            check_group(row.group)
            check_external_id(row.external_id)
            check_metadata("metadata", row.metadata.pairs)
        except InvalidRequest as error:
            return error
        return raw

    async def _head(self, resource: str) -> HeadRecord:
        name = HeadName.parse(resource)
        return await self._database.read(stored_heads.get_head, name.tenant, name.head)


def _augmented(
    connection: Connection, head: HeadRecord, digests: Sequence[str], count: int
) -> set[str]:
    """Returns those of the digests whose embedding and first views are stored."""
    names = {digest: [view_digest(digest, i) for i in range(count)] for digest in digests}
    wanted = [*digests, *(name for views in names.values() for name in views)]
    known = stored_embeddings.known_digests(connection, head, wanted)
    return {d for d, views in names.items() if d in known and known.issuperset(views)}
