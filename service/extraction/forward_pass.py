"""One batch on the device: the prefix once for all of its rows, then each tail for its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models import Backbone, PreparedInput
from models.backbone import LoadedTail
from service.errors import BackboneFailed
from service.logs import get_logger

K = TypeVar("K")

Outcome = NDArray[Any] | Exception
"""An embedding, float32 of shape (dim,); an activation, float16; or the row's error."""

log = get_logger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class Item:
    """A prepared input, and what to compute from it.

    Attributes:
        tail: makes the embedding in place of the backbone's own blocks after the cut.
        to_cut: the activation at the cut is wanted, not an embedding.
    """

    prepared: PreparedInput
    tail: LoadedTail | None = None
    to_cut: bool = False


class BatchResult(NamedTuple):
    """The outcome of a batch.

    Attributes:
        outcomes: one per item, in order.
        healthy: whether the backbone itself computed any of its rows; None if it had none to
            compute. A tenant's tail that fails says nothing about the backbone.
        raised: whether the backbone raised.
    """

    outcomes: list[Outcome]
    healthy: bool | None
    raised: bool


def group_rows(keys: Mapping[int, K]) -> dict[K, list[int]]:
    """Groups rows by key: keys in the order of their first row, rows in their order."""
    groups: dict[K, list[int]] = {}
    for row, key in keys.items():
        groups.setdefault(key, []).append(row)
    return groups


def run_batch(backbone: Backbone, items: Sequence[Item]) -> BatchResult:
    """Runs a batch. A row that makes a pass fail costs itself alone: the others are run again.

    All rows share the prefix, but those of whole tails, which begin at the input. A batch that
    needs no cut runs through the backbone in one piece: that is faster than in two.
    """
    shared = {
        row: item for row, item in enumerate(items) if item.tail is None or not item.tail.whole
    }
    in_one_piece = all(item.tail is None and not item.to_cut for item in shared.values())
    first = backbone.forward if in_one_piece else backbone.activations
    inputs = {row: item.prepared for row, item in shared.items()}
    outcomes, raised = _run(first, inputs, backbone.name)
    healthy = any(not isinstance(outcome, Exception) for outcome in outcomes.values())
    states: dict[int, Any] = {
        row: item.prepared.data for row, item in enumerate(items) if row not in shared
    }
    if not in_one_piece:
        states |= {
            row: outcome
            for row, outcome in outcomes.items()
            if not isinstance(outcome, Exception) and not items[row].to_cut
        }
    for tail, rows in group_rows({row: items[row].tail for row in states}).items():
        finish = backbone.finish if tail is None else tail.run
        name = backbone.name if tail is None else f"tail {tail.fingerprint[:12]}"
        finished, failed = _run(finish, {row: states[row] for row in rows}, name)
        outcomes |= finished
        raised |= failed and tail is None
    return BatchResult(
        [_checked(outcomes[row], item) for row, item in enumerate(items)],
        healthy if shared else None,
        raised,
    )


def _run(
    function: Callable[[Sequence[Any]], Iterable[NDArray[Any]]], rows: Mapping[int, Any], name: str
) -> tuple[dict[int, Outcome], bool]:
    """Runs rows together and, if that raises, each alone; also returns whether it raised."""
    if not rows:
        return {}, False
    try:
        results = list(function(list(rows.values())))
        if len(results) != len(rows):
            raise BackboneFailed(f"{name} gave {len(results)} rows for {len(rows)}")
    except Exception as error:
        log.exception("forward pass failed", model=name, rows=len(rows))
        if len(rows) == 1:
            failure = BackboneFailed(f"{name} failed on this input")
            failure.__cause__ = error
            return dict.fromkeys(rows, failure), True
        alone = (_run(function, {row: argument}, name)[0] for row, argument in rows.items())
        return {row: outcome for single in alone for row, outcome in single.items()}, True
    return dict(zip(rows, results, strict=True)), False


def _checked(outcome: Outcome, item: Item) -> Outcome:
    """Returns the outcome, or an error if it is not finite; activations in half precision."""
    if isinstance(outcome, Exception):
        return outcome
    if item.to_cut:
        with np.errstate(over="ignore"):
            outcome = outcome.astype(np.float16)
    if np.isfinite(outcome).all():
        return outcome
    if item.to_cut:
        return BackboneFailed("an activation of this input is too large for half precision")
    return BackboneFailed("the embedding of this input is not finite")
