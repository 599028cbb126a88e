"""The backbone that a head is bound to, as it is loaded now, and the head's tails."""

from __future__ import annotations

from functools import partial

from service.errors import FingerprintMismatch, Unavailable
from service.extraction import BackboneInfo, Extractor, TailRef
from service.store import Database
from service.store import tails as stored_tails
from service.store.head_records import HeadRecord


def head_backbone(extractor: Extractor, head: HeadRecord) -> BackboneInfo:
    """Returns the loaded backbone that a head is bound to.

    Raises:
        PreconditionFailed: it is not loaded.
        FingerprintMismatch: it is loaded with other weights or preprocessing.
    """
    return loaded_backbone(extractor, head.resource, head.backbone, head.fingerprint)


def current_backbone(extractor: Extractor, head: HeadRecord) -> BackboneInfo | None:
    """Returns the backbone that a head is bound to, or None if it is not loaded.

    Raises:
        FingerprintMismatch: it is loaded with other weights or preprocessing.
    """
    try:
        names = {info.name for info in extractor.backbones()}
    except Unavailable:
        return None
    return head_backbone(extractor, head) if head.backbone in names else None


def loaded_backbone(
    extractor: Extractor, head: str, backbone: str, fingerprint: str
) -> BackboneInfo:
    """Returns the loaded backbone that a head, or a version of it, was made for.

    Args:
        head: the head's resource name.

    Raises:
        PreconditionFailed: it is not loaded.
        FingerprintMismatch: it is loaded with other weights or preprocessing.
    """
    loaded = extractor.backbone(backbone)
    if loaded.fingerprint != fingerprint:
        raise FingerprintMismatch(
            f"head: {head} was made for {backbone} with fingerprint {fingerprint}, which has "
            f"{loaded.fingerprint} now; train it again from its kept inputs: "
            f"trunkline heads retrain {head}",
            field="fingerprint",
            limit=loaded.fingerprint,
            value=fingerprint,
        )
    return loaded


def stored_tail(database: Database, uid: str, fingerprint: str) -> TailRef:
    """Returns a tail of a head, whose weights are read when they are needed."""
    return TailRef(fingerprint, partial(database.read, stored_tails.get_tail, uid, fingerprint))
