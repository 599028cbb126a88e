"""What a session asks about, one item after the other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trunkline.cli.labelling.questions import Guess
from trunkline.values.inputs import Input


@dataclass(frozen=True)
class Item:
    """An input to ask about.

    `key` is what its answer is stored by. It is shown as `name`, with `lines` below; a viewer opens
    the input itself, None if it is neither at hand nor kept.
    """

    key: str
    name: str
    guess: Guess
    input: Input | None
    lines: Sequence[str] = ()


class Items:
    """Items that are all there from the beginning."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)

    @property
    def total(self) -> int:
        """How many there are to be in the end."""
        return len(self.items)

    def reach(self, row: int) -> bool:
        """Makes sure that there is an item in a row, if there is another one at all."""
        return row < len(self.items)

    def hold(self, row: int) -> bool:
        """Returns whether the item in a row is still to be asked about."""
        return True

    def name(self, key: str) -> str:
        """Returns what a person calls the item with a key."""
        return next(item.name for item in self.items if item.key == key)
