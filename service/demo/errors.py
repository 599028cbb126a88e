"""The error that ends the demo early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from trunkline import RowFailure

T = TypeVar("T")


class DemoError(Exception):
    """A step failed, or something the demo needs is missing; the message says what."""


def sound(step: str, outcomes: Sequence[T | RowFailure]) -> list[T]:
    """Returns what came of each row of a step.

    Raises:
        DemoError: a row failed.
    """
    failures = [outcome for outcome in outcomes if isinstance(outcome, RowFailure)]
    if failures:
        raise DemoError(f"{step}: {len(failures)} rows failed: {failures[0].message}")
    return [outcome for outcome in outcomes if not isinstance(outcome, RowFailure)]
