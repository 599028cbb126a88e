"""Computes activations of a head's examples: once each, by the extractor, from kept inputs."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

from adapters import Progress
from adapters.spec import ViewSet
from models import InputLimits, Modality
from service.concurrency.retry import retry_when_full
from service.embedding.image_views import ViewMaker, with_views
from service.errors import Aborted, PreconditionFailed, QueueFull, Unavailable
from service.extraction import BackboneInfo, Extractor
from service.requests.inputs import RawInput, read_kept
from service.store import Database, kept_inputs
from service.store.head_records import HeadRecord
from service.store.view_digests import view_digests
from service.tuning.activation_files import ROW_OVERHEAD_BYTES, ActivationFiles, Key
from trunkline.rows.chunking import split

ROWS_AT_ONCE = 64
"""Rows computed at a time: a small share of the tenant's queue, and one file."""

T = TypeVar("T")

_NO_VIEWS = ViewSet()


class Activations:
    """Computes and stores the activations that a tuning needs."""

    def __init__(
        self,
        database: Database,
        extractor: Extractor,
        files: ActivationFiles,
        views: ViewMaker,
        limits: InputLimits,
    ) -> None:
        self._database = database
        self._extractor = extractor
        self._views = views
        self._limits = limits
        self.files = files

    async def complete(
        self,
        head: HeadRecord,
        backbone: BackboneInfo,
        digests: Sequence[str],
        views: ViewSet,
        progress: Progress,
        *,
        prepared: bool,
    ) -> Key:
        """Computes missing activations of examples and their first views; returns their key.

        Args:
            prepared: whether what enters the network is wanted in place of activations.

        Raises:
            PreconditionFailed: so much does not fit, or one of them cannot be computed.
            Aborted: an example was deleted meanwhile.
            QueueFull, Unavailable: the extractor took no rows for long.
        """
        key = Key(backbone.fingerprint, head.uid, prepared)
        known = await self.files.threads.run(self.files.known, key)
        wanted = {d: {d, *view_digests(d, views.count, flips=views.flips)} for d in digests}
        missing = [digest for digest, names in wanted.items() if not known.issuperset(names)]
        if not missing:
            return key
        rows_missing = sum(len(wanted[digest] - known) for digest in missing)
        nbytes = await self._measure(head, backbone, missing, prepared=prepared)
        nbytes = nbytes * rows_missing // len(missing)
        await self.files.threads.run(self.files.make_room, key, nbytes)
        done = 0
        for part in split(missing, max_rows=max(1, ROWS_AT_ONCE // (1 + views.count))):
            progress(done / len(missing), "computing activations")
            rows = await self._compute(head, backbone, part, views, known, prepared=prepared)
            await self.files.threads.run_shielded(self.files.add, key, rows)
            done += len(part)
        return key

    async def _measure(
        self, head: HeadRecord, backbone: BackboneInfo, digests: Sequence[str], *, prepared: bool
    ) -> int:
        """Returns the bytes that rows of these inputs take: images have one size, texts differ."""
        (row,) = (await self._compute(head, backbone, digests[:1], prepared=prepared)).values()
        if backbone.modality is Modality.IMAGE:
            return len(digests) * (row.nbytes + ROW_OVERHEAD_BYTES)
        tokens = 0
        for part in split(digests, max_rows=ROWS_AT_ONCE):
            ids = await self._compute(head, backbone, part, prepared=True)
            tokens += sum(map(len, ids.values()))
        return tokens * row.nbytes // len(row) + len(digests) * ROW_OVERHEAD_BYTES

    async def _compute(
        self,
        head: HeadRecord,
        backbone: BackboneInfo,
        digests: Sequence[str],
        views: ViewSet = _NO_VIEWS,
        known: Container[str] = (),
        *,
        prepared: bool,
    ) -> dict[str, NDArray[Any]]:
        """Computes rows of these examples and their views that are not known, by name."""
        raws = await self._inputs(head, digests)
        flipped = range(len(raws)) if views.flips else ()
        views_by_row = await with_views(
            raws, [views.count] * len(raws), self._views, head.tenant, flipped=flipped
        )
        usable = [_usable(view) for row in views_by_row for view in row]
        inputs = [view for view in usable if view.digest not in known]

        async def ask() -> list[NDArray[Any]]:
            rows = await self._extractor.activations(
                head.tenant, backbone, inputs, prepared=prepared
            )
            return [_usable(row) for row in rows]

        rows = await retry_when_full(ask)
        return {raw.digest: row for raw, row in zip(inputs, rows, strict=True)}

    async def _inputs(self, head: HeadRecord, digests: Sequence[str]) -> list[RawInput | Exception]:
        kept = await self._database.read(kept_inputs.find_inputs, head.uid, digests)
        gone = [digest for digest in digests if digest not in kept]
        if gone:
            raise Aborted.at("examples", "{value} was deleted meanwhile", value=gone[0])
        read = await read_kept(kept, self._limits)
        return [read[digest] for digest in digests]


def _usable(row: T | Exception) -> T:
    """Returns the row; an error in one of them fails all.

    Raises:
        QueueFull, Unavailable: later it may be there.
        PreconditionFailed: it cannot be computed.
    """
    if not isinstance(row, Exception):
        return row
    if isinstance(row, (QueueFull, Unavailable)):
        raise row
    raise PreconditionFailed(
        f"examples: a kept input is of no use for fine-tuning: {row}",
        field=getattr(row, "field", None) or "examples",
        limit=getattr(row, "limit", None),
        value=getattr(row, "value", None),
    ) from row
