"""Moves a head to another backbone, or to other weights of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from service.concurrency.retry import retry_when_full
from service.embedding.backfill import EmbeddingBackfill
from service.errors import PreconditionFailed
from service.extraction import BackboneInfo, Extractor
from service.requests.inputs import Kind
from service.store import Database, example_sets, kept_inputs
from service.store.head_records import HeadRecord


class BackboneMove:
    """Embeds a head's examples anew. The head itself moves when its first version is stored."""

    def __init__(
        self, database: Database, extractor: Extractor, backfill: EmbeddingBackfill
    ) -> None:
        self._database = database
        self._extractor = extractor
        self._backfill = backfill

    async def check(self, head: HeadRecord, backbone: BackboneInfo) -> None:
        """Refuses at once examples that could not be embedded.

        Raises:
            PreconditionFailed: inputs are of another kind than the backbone takes, or not kept.
        """
        kinds = await self._database.read(kept_inputs.count_kinds, head.uid)
        for kind, count in kinds.items():
            modality = Kind(kind).modality
            if modality not in (None, backbone.modality):
                raise PreconditionFailed(
                    f"backbone: {backbone.name} takes {backbone.modality} inputs, "
                    f"{count} examples of {head.resource} are of kind {kind}",
                    field="backbone",
                    limit=backbone.modality,
                    value=kind,
                )
        lacking = await self._lacking(head, backbone.fingerprint)
        _check_kept(head, backbone, lacking)

    async def begin(
        self, head: HeadRecord, backbone: str, report_share: Callable[[float], None]
    ) -> HeadRecord:
        """Embeds all examples by a loaded backbone; returns the head as it will be.

        Raises:
            PreconditionFailed: the backbone is not loaded, or an input is not kept or of no use.
            QueueFull, Unavailable: the extractor took no rows for long.
        """
        found = self._extractor.backbone(backbone)
        moved = replace(head, backbone=found.name, fingerprint=found.fingerprint)
        await self.complete(moved, report_share)
        return moved

    async def complete(
        self, moved: HeadRecord, report_share: Callable[[float], None] = lambda share: None
    ) -> None:
        """Embeds examples that were added meanwhile.

        Args:
            moved: what `begin` returned.

        Raises:
            PreconditionFailed, QueueFull, Unavailable: like `begin`.
        """
        backbone = self._extractor.backbone(moved.backbone)

        async def embed() -> set[str]:
            lacking = await self._lacking(moved, moved.fingerprint)
            _check_kept(moved, backbone, lacking)
            await self._backfill.complete(moved, backbone, list(lacking), report_share)
            return set(lacking)

        tried = await retry_when_full(embed)
        left = tried & (await self._lacking(moved, moved.fingerprint)).keys()
        if left:
            raise PreconditionFailed(
                f"backbone: {backbone.name} cannot embed {len(left)} of the kept inputs, "
                f"{min(left)} among them; the server's log says why",
                field="backbone",
                limit=0,
                value=len(left),
            )

    async def _lacking(self, head: HeadRecord, fingerprint: str) -> dict[str, bool]:
        return await self._database.read(example_sets.without_embedding, head.uid, fingerprint)


def _check_kept(head: HeadRecord, backbone: BackboneInfo, lacking: Mapping[str, bool]) -> None:
    """Refuses examples that have to be embedded anew and cannot.

    Args:
        lacking: whether the input is kept, by digest.
    """
    lost = sum(not kept for kept in lacking.values())
    if lost:
        raise PreconditionFailed(
            f"backbone: {lost} of the {len(lacking)} examples of {head.resource} that have to be "
            f"embedded by {backbone.name} have no kept input; delete or send them again, or make "
            "a new head",
            field="backbone",
            limit=0,
            value=lost,
        )
