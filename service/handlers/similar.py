"""The RPC ``FindSimilar``: the stored examples nearest to one of them, or to a new input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from service.config import ServerSettings
from service.embedding.backfill import EmbeddingBackfill
from service.embedding.head_backbones import head_backbone, stored_tail
from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.errors import InvalidRequest
from service.extraction import Extractor
from service.replies.examples import example_messages
from service.requests.call import Call
from service.requests.inputs import RawInput, read_inputs
from service.serving.neighbours import NeighbourSearch, Space
from service.store import Database, kept_inputs
from service.store import examples as stored_examples
from service.store import heads as stored_heads
from service.store.examples import ExampleRecord
from service.store.head_records import HeadRecord
from trunkline.resources import HeadName
from trunkline.v1 import heads_pb2

DEFAULT_COUNT = 10
MAX_COUNT = 100


@dataclass(eq=False)
class Similar:
    """Finds examples that are like an input."""

    _database: Database
    _extractor: Extractor
    _embeddings: EmbeddingResolver
    _backfill: EmbeddingBackfill
    _neighbours: NeighbourSearch
    _settings: ServerSettings

    async def find_similar(
        self, request: heads_pb2.FindSimilarRequest, call: Call
    ) -> heads_pb2.FindSimilarResponse:
        """Returns the nearest examples as the active version sees them, but for the input's own."""
        if request.count > MAX_COUNT:
            raise InvalidRequest.at(
                "count", "at most {limit}, is {value}", MAX_COUNT, request.count
            )
        count = request.count or DEFAULT_COUNT
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        fingerprint, raw, resolved = await self._resolve(head, request, call)
        await self._backfill.of_active(head)
        space = Space(head.tenant, head.uid, fingerprint, request.unlabelled)
        found = await self._neighbours.nearest(space, resolved.vector[None], count + 1)
        cosines = {digest: c for digest, c in found.found[0] if digest != raw.digest}
        digests = list(cosines)[:count]
        room = self._settings.max_message_bytes if request.with_inputs else 0
        records, inputs = await self._database.read(_details, head, digests, room)
        messages = example_messages(records, inputs)
        return heads_pb2.FindSimilarResponse(
            similar=[
                heads_pb2.SimilarExample(example=message, similarity=cosines[message.digest])
                for message in messages
            ],
            digest=raw.digest,
            truncated=resolved.truncated,
            not_compared=found.not_compared,
        )

    async def _resolve(
        self, head: HeadRecord, request: heads_pb2.FindSimilarRequest, call: Call
    ) -> tuple[str, RawInput, Resolved]:
        """Embeds the input as the active version takes it; returns by what, too.

        Raises:
            Exception: why that cannot be done.
        """
        backbone = head_backbone(self._extractor, head)
        if head.tail is not None:
            backbone = backbone.with_tail(stored_tail(self._database, head.uid, head.tail))
        (raw,) = await read_inputs([request.input], self._settings.input_limits)
        (resolved,) = await self._embeddings.resolve(
            head.tenant, backbone, [raw], deadline=call.deadline, look_in_store=True
        )
        if isinstance(resolved, Exception):
            raise resolved
        assert isinstance(raw, RawInput)
        return backbone.fingerprint, raw, resolved


def _details(
    connection: Connection, head: HeadRecord, digests: Sequence[str], max_bytes: int
) -> tuple[list[ExampleRecord], dict[str, bytes]]:
    """Returns the examples that are there still, in this order, and inputs of the first of them."""
    inputs = kept_inputs.find_first_inputs(connection, head.uid, digests, max_bytes)
    found = stored_examples.find_examples(connection, head.uid, digests)
    return [found[digest] for digest in digests if digest in found], inputs
