"""How work that takes a while reports how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Progress(Protocol):
    """Takes reports of progress; what it raises ends the work."""

    def __call__(
        self, share: float, phase: str, details: Mapping[str, Any] | None = None, /
    ) -> None:
        """Take a report.

        Args:
            share: of the work that is done, from 0 to 1.
            phase: what is being done, in words.
            details: more about the phase, by name; None if there is nothing more to say.
        """
        ...


def ignore_progress(share: float, phase: str, details: Mapping[str, Any] | None = None, /) -> None:
    """Ignore a report."""


def within(progress: Progress, first: float, last: float) -> Progress:
    """Return what takes reports of the part of the work between two shares of the whole."""

    def report(share: float, phase: str, details: Mapping[str, Any] | None = None, /) -> None:
        progress(first + (last - first) * share, phase, details)

    return report
