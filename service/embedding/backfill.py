"""Computes the embeddings that stored examples lack after a change of backbone or tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models import InputLimits
from service.concurrency.retry import retry_when_full
from service.embedding.head_backbones import head_backbone, stored_tail
from service.errors import QueueFull, Unavailable
from service.extraction import BackboneInfo, Extracted, Extractor
from service.logs import get_logger
from service.requests.inputs import RawInput, read_kept
from service.store import Database, example_sets, kept_inputs
from service.store import examples as stored_examples
from service.store.head_records import HeadRecord
from trunkline.rows.chunking import split

ROWS_AT_ONCE = 64
"""Inputs under way at a time: a small share of the tenant's queue."""

Vectors = dict[str, NDArray[np.float32]]

log = get_logger(__name__)


class EmbeddingBackfill:
    """Computes embeddings from kept inputs, and stores them like any other."""

    def __init__(self, database: Database, extractor: Extractor, limits: InputLimits) -> None:
        self._database = database
        self._extractor = extractor
        self._limits = limits

    async def of_active(self, head: HeadRecord) -> bool:
        """Completes the embeddings that the active version takes, as far as inputs are kept.

        Returns whether any was missing.

        A version on the backbone itself lacks none. One on a tail lacks those of examples that
        came while another was active: they are computed when they are first needed.

        Raises:
            QueueFull, Unavailable: the extractor took no rows.
            PreconditionFailed: the head's backbone is not loaded.
            FingerprintMismatch: it is loaded with other weights.
        """
        if head.tail is None:
            return False
        found = await self._database.read(example_sets.without_embedding, head.uid, head.tail)
        lacking = [digest for digest, kept in found.items() if kept]
        if not lacking:
            return False
        backbone = head_backbone(self._extractor, head)
        tail = stored_tail(self._database, head.uid, head.tail)
        await self.complete(head, backbone.with_tail(tail), lacking)
        return True

    async def complete(
        self,
        head: HeadRecord,
        backbone: BackboneInfo,
        digests: Sequence[str],
        report_share: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Computes embeddings of examples by a backbone or tail and stores them, a part at a time.

        An input that cannot be computed is left out, and the log says so.

        Raises:
            QueueFull, Unavailable: the extractor took no rows; what was computed before is stored.
            NotFound: the head was deleted meanwhile.
        """
        done = 0
        for part in split(digests, max_rows=ROWS_AT_ONCE):
            report_share(done / len(digests))
            found = await self._compute(head, backbone, part)
            await self._database.write(
                stored_examples.store_vectors,
                head.uid,
                backbone.fingerprint,
                {digest: one.vector for digest, one in found.items()},
                {digest for digest, one in found.items() if one.truncated},
            )
            done += len(part)

    async def compute(
        self, head: HeadRecord, backbone: BackboneInfo, digests: Sequence[str]
    ) -> Vectors:
        """Computes embeddings by digest, as `complete` does; nothing is stored.

        Raises:
            QueueFull, Unavailable: the extractor took no rows for long.
        """
        vectors: Vectors = {}
        for part in split(digests, max_rows=ROWS_AT_ONCE):
            found = await retry_when_full(partial(self._compute, head, backbone, part))
            vectors |= {digest: one.vector for digest, one in found.items()}
        return vectors

    async def prove(self, head: HeadRecord, backbone: BackboneInfo, digest: str) -> None:
        """Computes one example's embedding, to see that the extractor can.

        Raises:
            QueueFull, Unavailable: the extractor took no rows for long.
            ServiceError, models.InvalidInput: why it cannot.
        """

        async def compute() -> None:
            for _, outcome in await self._outcomes(head, backbone, [digest]):
                if isinstance(outcome, Exception):
                    raise outcome

        await retry_when_full(compute)

    async def _compute(
        self, head: HeadRecord, backbone: BackboneInfo, digests: Sequence[str]
    ) -> dict[str, Extracted]:
        found: dict[str, Extracted] = {}
        for digest, outcome in await self._outcomes(head, backbone, digests):
            if isinstance(outcome, Extracted):
                found[digest] = outcome
            elif isinstance(outcome, (QueueFull, Unavailable)):
                raise outcome
            else:
                log.warning(
                    "kept input is of no use", head=head.resource, digest=digest, error=outcome
                )
        return found

    async def _outcomes(
        self, head: HeadRecord, backbone: BackboneInfo, digests: Sequence[str]
    ) -> list[tuple[str, Extracted | Exception]]:
        """Computes the embedding, or its error, of each input that is kept, by digest."""
        kept = await self._database.read(kept_inputs.find_inputs, head.uid, digests)
        inputs = await read_kept(kept, self._limits)
        raws = [raw for raw in inputs.values() if isinstance(raw, RawInput)]
        embedded = iter(await self._extractor.embed(head.tenant, backbone, raws))
        return [
            (digest, next(embedded) if isinstance(raw, RawInput) else raw)
            for digest, raw in inputs.items()
        ]
