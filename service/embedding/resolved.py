"""An input with its embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.requests.inputs import Kind, RawInput
from service.store.example_rules import Source
from service.store.examples import NewExample


@dataclass(frozen=True, slots=True)
class Resolved:
    """An input's embedding and where its time went; times are 0 if it was known.

    Attributes:
        truncated: whether the input is a text that is longer than the backbone's window.
    """

    kind: Kind
    vector: NDArray[np.float32]
    truncated: bool = False
    decode_seconds: float = 0.0
    queue_seconds: float = 0.0
    backbone_seconds: float = 0.0


def new_example(
    raw: RawInput,
    resolved: Resolved,
    label: str | None,
    source: Source,
    *,
    keep_input: bool,
    weight: float | None = None,
    held_out: bool = False,
    group: str | None = None,
    external_id: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> NewExample:
    """Builds the example that is stored for a row."""
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
        group=group,
        external_id=external_id,
        metadata=metadata,
        truncated=resolved.truncated,
    )
