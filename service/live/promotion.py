"""A version made of a live copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import adapters
from service.live.learning import LiveCopy
from service.store.jobs import NewVersion
from service.store.live import LiveSet


def make_version(copy: LiveCopy, stored: LiveSet, report: Mapping[str, Any]) -> NewVersion:
    """The version that a live copy becomes: its very weights, and a report on what it stands on.

    Args:
        stored: what it is made of.
        report: of the version that it moved on from.
    """
    head = copy.head
    assert head is not None
    known = copy.known
    counts = Counter(known.values())
    made = adapters.Report(
        family=head.family,
        spec=adapters.HeadSpec.from_json(report["spec"]),
        fingerprint=head.fingerprint,
        example_count=len(known),
        classes=tuple(adapters.ClassReport(label, counts[label]) for label in head.labels),
        estimate=None,
        l2=head.l2,
        temperature=head.temperature,
        candidates=(),
    )
    return NewVersion(head.labels, made.to_json(), head.to_safetensors(), known)
