"""One of the processes that share a store, and what their supervisor tells it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from blake3 import blake3

VARIABLE = "MEMBER_OF_TRUNKLINE"
"""Of the environment; it does not begin as settings do."""

KEEPER = 0
EXTRACTION = "extractor"


def chosen(uid: str, names: Sequence[str]) -> str:
    """Returns which of some servers a head is given, by rendezvous hashing."""
    return max(names, key=lambda name: blake3(f"{name}/{uid}".encode()).digest())


@dataclass(frozen=True, slots=True)
class Member:
    """A serving process.

    Attributes:
        index: from 0; the first is the keeper of what there is one of.
        count: how many there are.
        folder: of their sockets; nobody else may look into it.
        lock: descriptor that holds the lock of the data directory.
        extracts: whether an extraction process of theirs belongs to them.
    """

    index: int
    count: int
    folder: Path
    lock: int
    extracts: bool

    @property
    def name(self) -> str:
        """What others call it."""
        return f"worker-{self.index}"

    @property
    def keeper(self) -> bool:
        """Whether it does what there is one of: trainings, and what goes with them."""
        return self.index == KEEPER

    @property
    def others(self) -> Sequence[str]:
        """Names of the other serving processes."""
        return [f"worker-{i}" for i in range(self.count) if i != self.index]

    @property
    def all_processes(self) -> Sequence[str]:
        """Names of all that have metrics, this one first."""
        return [self.name, *self.others, *([EXTRACTION] if self.extracts else [])]

    def scores(self, uid: str) -> bool:
        """Returns whether it learns a head's feedback at once: each head is one member's.

        With a member more, few heads change theirs.
        """
        return chosen(uid, [self.name, *self.others]) == self.name

    def environment(self) -> dict[str, str]:
        """Returns the variables that make a process this member."""
        return {VARIABLE: json.dumps(asdict(self) | {"folder": str(self.folder)})}

    @classmethod
    def of_environment(cls) -> Self | None:
        """Returns what this process is; None for one that serves alone."""
        text = os.environ.get(VARIABLE)
        if text is None:
            return None
        facts = json.loads(text)
        return cls(**facts | {"folder": Path(facts["folder"])})
