"""Rows that bring an input and a label: what uploads and feedback have in common."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from service.embedding.resolver import Resolved
from service.errors import FingerprintMismatch, InvalidRequest, Unavailable
from service.extraction import BackboneInfo, Extractor
from service.requests.inputs import Kind, RawInput
from service.store.examples import NewExample
from service.store.heads import HeadRecord

MIN_WEIGHT, MAX_WEIGHT = 1e-3, 1e3
"""Far above it, sums in float64 would lose the examples of weight 1."""

_FEEDBACK_ID = re.compile("[A-Za-z0-9_.-]{1,64}")


def head_backbone(extractor: Extractor, head: HeadRecord) -> BackboneInfo:
    """The loaded backbone that a head is bound to.

    Raises:
        PreconditionFailed: it is not loaded.
        FingerprintMismatch: it is loaded with other weights or preprocessing.
    """
    return loaded_backbone(extractor, head.resource, head.backbone, head.fingerprint)


def current_backbone(extractor: Extractor, head: HeadRecord) -> BackboneInfo | None:
    """The backbone that a head is bound to, for what can do without it; None if it is not loaded.

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
    """The loaded backbone that a head, or a version of it, was made for.

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


def new_example(
    raw: RawInput,
    resolved: Resolved,
    label: str | None,
    source: Literal["upload", "feedback"],
    *,
    keep_input: bool,
    weight: float | None = None,
    held_out: bool = False,
) -> NewExample:
    """What is stored for a row."""
    kept = keep_input and raw.kind not in (Kind.DIGEST, Kind.EMBEDDING)
    return NewExample(
        digest=raw.digest,
        kind=resolved.kind.value,
        vector=resolved.vector,
        label=label,
        source=source,
        input=raw.to_message().SerializeToString() if kept else None,
        weight=weight,
        held_out=held_out,
    )


def check_weight(weight: float) -> float:
    """The weight of an example, if it is one.

    Raises:
        InvalidRequest: it is not a number from MIN_WEIGHT to MAX_WEIGHT.
    """
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise InvalidRequest(
            f"weight: must be from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, is {weight}",
            field="weight",
            limit=f"from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}",
            value=weight,
        )
    return weight


def check_label(label: str, max_bytes: int) -> str:
    """The label, if it is one.

    Raises:
        InvalidRequest: it is empty, too long, or has control characters or outer white space.
    """
    size = len(label.encode())
    if not 1 <= size <= max_bytes:
        raise InvalidRequest(
            f"label: from 1 to {max_bytes} bytes of UTF-8, has {size}",
            field="label",
            limit=max_bytes,
            value=size,
        )
    if label != label.strip() or any(unicodedata.category(c).startswith("C") for c in label):
        raise InvalidRequest(
            f"label: must have no control characters and no white space around it, is {label!r}",
            field="label",
            limit="printable",
            value=label,
        )
    return label


def check_feedback_id(feedback_id: str) -> str:
    """The id, if it is one.

    Raises:
        InvalidRequest: it is malformed.
    """
    if not _FEEDBACK_ID.fullmatch(feedback_id):
        raise InvalidRequest(
            f"id: must match {_FEEDBACK_ID.pattern}, is {feedback_id[:100]!r}",
            field="id",
            limit=_FEEDBACK_ID.pattern,
            value=feedback_id,
        )
    return feedback_id
