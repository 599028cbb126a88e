"""Which of the states of something could answer a question, given when it was changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")


@dataclass(slots=True)
class _Span(Generic[S]):
    """A state: from when on it may be seen, and after when it must not be."""

    state: S
    begun: float
    ended: float = math.inf


class Timeline(Generic[S]):
    """The states of something that one client changes, one change after the other.

    While a change is on its way, both the state before and that after it may be seen; once it was
    acknowledged, only the latter, by whoever asks from then on.

    Args:
        state: that it begins with.
    """

    def __init__(self, state: S) -> None:
        self._spans = [_Span(state, -math.inf)]

    @property
    def state(self) -> S:
        """The newest state, acknowledged or not."""
        return self._spans[-1].state

    def begin(self, state: S, now: float) -> None:
        """Notes that a change is sent."""
        self._spans.append(_Span(state, now))

    def settle(self, now: float) -> None:
        """Notes that the last change was acknowledged."""
        self._spans[-2].ended = now

    def withdraw(self) -> None:
        """Notes that the last change was refused: nothing of it must be seen."""
        self._spans.pop()

    def states(self) -> list[S]:
        """All of them, oldest first."""
        return [span.state for span in self._spans]

    def possible(self, asked: float, answered: float) -> list[S]:
        """Returns the states that may answer a question of this time, newest first."""
        found = []
        for span in reversed(self._spans):
            if span.ended < asked:
                break  # earlier ones ended earlier
            if span.begun <= answered:
                found.append(span.state)
        return found
