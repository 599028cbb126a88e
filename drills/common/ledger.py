"""What a server was told and what of it was acknowledged, and whether it holds to that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Key = tuple[str, ...]
"""What can be written: its kind, then its name."""

Value = str | None
"""What is written; None for what is not there."""


@dataclass(eq=False, slots=True)
class Write:
    """Values that one request writes: all of them or none."""

    values: Mapping[Key, Value]


class Ledger:
    """Compares what is found in a store with what was acknowledged.

    A write whose reply never came is in doubt: it may have been done or not, but not by half. What
    is found settles it, and later it must be found again.
    """

    def __init__(self) -> None:
        self._known: dict[Key, Value] = {}
        self._doubtful: list[Write] = []

    def send(self, values: Mapping[Key, Value]) -> Write:
        """Notes a write that is on its way; it is in doubt from now on."""
        write = Write(dict(values))
        self._doubtful.append(write)
        return write

    def acknowledge(self, write: Write) -> None:
        """Notes that a write was done."""
        self._doubtful.remove(write)
        self._known.update(write.values)

    def refuse(self, write: Write) -> None:
        """Notes that a write was refused, so that nothing of it must be found."""
        self._doubtful.remove(write)

    def known(self, key: Key) -> Value:
        """What was last acknowledged or found."""
        return self._known.get(key)

    def acknowledged(self) -> int:
        """How many values were acknowledged or found."""
        return len(self._known)

    def check(self, found: Mapping[Key, Value]) -> list[str]:
        """Says what is lost, wrong, half made or unheard of, and takes what was found as settled.

        Args:
            found: all that the store has.
        """
        possible = {key: {value} for key, value in self._known.items()}
        for write in self._doubtful:
            for key, value in write.values.items():
                possible.setdefault(key, {None}).add(value)
        wrong = [
            _wrong(key, found.get(key), values)
            for key, values in possible.items()
            if found.get(key) not in values
        ]
        wrong += [f"{_name(key)}: nobody sent it" for key in found.keys() - possible.keys()]
        wrong += self._half_made(found)
        self._known = {key: found.get(key) for key in possible}
        self._doubtful = []
        return wrong

    def _half_made(self, found: Mapping[Key, Value]) -> list[str]:
        """Says which writes in doubt were done in part."""
        messages = []
        for write in self._doubtful:
            # A value that was there before, or that another write brings, too, tells nothing.
            others = {key for other in self._doubtful if other is not write for key in other.values}
            telling = [
                key
                for key, value in write.values.items()
                if key not in others and self._known.get(key) != value
            ]
            done = [key for key in telling if found.get(key) == write.values[key]]
            if 0 < len(done) < len(telling):
                messages.append(
                    f"half made: {len(done)} of {len(telling)} values of one write, "
                    f"such as {_name(done[0])}"
                )
        return messages


def _wrong(key: Key, found: Value, possible: set[Value]) -> str:
    wanted = " or ".join(sorted(map(str, possible)))
    return f"{_name(key)}: is {found}, must be {wanted}"


def _name(key: Key) -> str:
    return " ".join(key)
