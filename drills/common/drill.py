"""What a drill is given and what it gives back."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

VERDICTS = ("held", "violated", "skipped")


@dataclass(frozen=True, slots=True)
class Drill:
    """What a drill is given.

    Attributes:
        folder: empty, this drill's own, removed afterwards.
        sockets: for Unix sockets, whose paths must be short; removed even where `folder` is kept.
        random: made of the seed that is printed; the only source of chance.
        long: whether the long form is asked for, which a person starts by hand.
        slack: multiplies every bound that a busy machine may break; 1 on a quiet one.
    """

    folder: Path
    sockets: Path
    random: random.Random
    long: bool = False
    slack: float = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a drill did and saw.

    Attributes:
        done: what was done, in a few words, with its figures.
        times: how often: kills, answers that were compared, stops.
        worst_seconds: the longest that something took which is bounded; 0 where nothing is.
        violations: each a sentence; none if the promise held.
        skipped: why nothing could be tried here; empty if something was.
    """

    done: str
    times: int = 0
    worst_seconds: float = 0.0
    violations: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def verdict(self) -> str:
        """In one word, of `VERDICTS`."""
        if self.violations:
            return "violated"
        return "skipped" if self.skipped else "held"


class DrillModule(Protocol):
    """What a drill's module has."""

    PROMISE: str
    SECONDS: float
    LONG_SECONDS: float

    async def run(self, drill: Drill) -> Outcome:
        """Attacks a server; gives what was seen."""
