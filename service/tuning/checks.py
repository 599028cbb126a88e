"""Checks of what can be fine-tuned."""

from __future__ import annotations

from sqlalchemy import Connection

import adapters
from service.embedding.image_views import check_only_of_images
from service.errors import PreconditionFailed
from service.extraction import BackboneInfo
from service.store import example_sets, kept_inputs
from service.store.head_records import HeadRecord

WHOLE = "full"
"""The strategy that tunes the whole backbone, and so begins at the input and not at the cut."""

MIN_CLASSES, FEWEST = 2, 2
"""Examples of a class: one to learn from and one to validate on."""


def check_tunable(head: HeadRecord, spec: adapters.FineTune, backbone: BackboneInfo) -> None:
    """Refuses a head, spec or backbone that cannot be fine-tuned.

    Raises:
        PreconditionFailed: naming field, limit and value.
    """
    if not head.keep_inputs:
        raise PreconditionFailed(
            "fine_tune: needs the raw inputs, which the head does not keep (keep_inputs); make a "
            "new head that does",
            field="keep_inputs",
            limit=True,
            value=False,
        )
    if not backbone.cut and spec.strategy != WHOLE:
        raise PreconditionFailed(
            f"fine_tune.strategy: {backbone.name} declares no cut, so {spec.strategy!r} is not "
            f"possible, {WHOLE!r} may be",
            field="fine_tune.strategy",
            limit=WHOLE,
            value=spec.strategy,
        )
    check_only_of_images("fine_tune.views", spec.views, backbone.modality, PreconditionFailed)


def check_examples(connection: Connection, head: HeadRecord) -> None:
    """Refuses examples that a head cannot be fine-tuned on.

    Raises:
        PreconditionFailed: naming field, limit and value.
    """
    lost = kept_inputs.count_not_kept(connection, head.uid)
    if lost:
        raise PreconditionFailed(
            f"fine_tune: needs the inputs of all labelled examples, {lost} are not kept; "
            "delete or send them again",
            field="examples",
            limit=0,
            value=lost,
        )
    counts = example_sets.label_counts(connection, head.uid)
    several = sum(count >= FEWEST for count in counts.values())
    if several < MIN_CLASSES:
        raise PreconditionFailed(
            f"fine_tune: needs at least {FEWEST} examples of {MIN_CLASSES} classes, {several} of "
            f"{len(counts)} has so many",
            field="examples",
            limit=MIN_CLASSES,
            value=several,
        )
