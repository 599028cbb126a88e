"""What a live copy is built on, and what of it decides on front and strength."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.live.comparison import Example
from service.store.live_set import LiveFeedback, Member

GROWTH, FEWEST = 1.5, 20
"""Front and strength are chosen again where there are so many times the examples that they were
chosen on, and no fewer than this."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What follows from members and feedback, in its order.

    Attributes:
        examples: what a copy is built on: the last label of each input counts.
        chosen_on: the examples as they were when front and strength were last to be chosen; none
            if that was when the version was made.
        due: how many examples there are when they are to be chosen next.
    """

    examples: list[Example]
    chosen_on: list[Example]
    due: int


def replay(members: Sequence[Member], feedback: Sequence[LiveFeedback]) -> Replay:
    """Replays feedback that was learned: the same gives the same, however it came in."""
    known: dict[str, Example] = {member.digest: member for member in members}
    chosen_on: list[Example] = []
    due = _next_choice(len(known))
    for item in feedback:
        known[item.digest] = item
        if len(known) >= due:
            chosen_on, due = list(known.values()), _next_choice(len(known))
    return Replay(list(known.values()), chosen_on, due)


def _next_choice(count: int) -> int:
    return max(FEWEST, math.ceil(GROWTH * count))
