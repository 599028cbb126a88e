"""Inputs of feedback, embedded for all that learns from them."""

from __future__ import annotations

from collections.abc import Sequence

from service.concurrency.tasks import gather_or_raise
from service.embedding.head_backbones import stored_tail
from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.errors import PreconditionFailed
from service.extraction import BackboneInfo
from service.requests.inputs import Kind, RawInput
from service.store import Database
from service.store.head_records import HeadRecord


async def resolve_for_feedback(
    database: Database,
    embeddings: EmbeddingResolver,
    head: HeadRecord,
    backbone: BackboneInfo,
    raws: Sequence[RawInput | Exception],
    deadline: float | None,
) -> tuple[list[Resolved | Exception], list[Resolved | Exception]]:
    """Embeds by the backbone, for later trainings, and as the active version takes them.

    Args:
        backbone: the head's.
        deadline: on the event loop's clock.

    Raises:
        QueueFull, Unavailable: as in `EmbeddingResolver.resolve`.
    """
    backbones = [backbone]
    if head.tail is not None:
        tail = stored_tail(database, head.uid, head.tail)
        backbones.append(backbone.with_tail(tail))
        raws = [_with_content(raw) for raw in raws]
    resolved = await gather_or_raise(
        [
            embeddings.resolve(head.tenant, info, raws, deadline=deadline, look_in_store=True)
            for info in backbones
        ]
    )
    return resolved[0], resolved[-1]


def _with_content(raw: RawInput | Exception) -> RawInput | Exception:
    """Returns the input, or an error where a tail cannot be run on it."""
    if isinstance(raw, RawInput) and raw.kind is Kind.EMBEDDING:
        return PreconditionFailed(
            "input: must be the input itself, is an embedding: the head runs on a fine-tuned tail, "
            "and needs one by that and one by the backbone",
            field="input",
            limit="no embedding",
            value=raw.kind,
        )
    return raw
