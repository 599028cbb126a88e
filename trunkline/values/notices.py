"""What was left out, cut or changed on the way, so that nothing is without a word."""

from collections.abc import Iterable
from dataclasses import dataclass

from trunkline.wording import counted


@dataclass(frozen=True)
class Notice:
    """One reason for which data were left out or changed.

    `reason` is a word for programs, such as "left_out_suffix"; `words` is a sentence for people
    that says how many. `names` are all inputs, files or labels that it happened to; `count` may be
    above their number where only some are known by name.
    """

    reason: str
    words: str
    count: int
    names: tuple[str, ...] = ()


def notices_of(
    reason: str, names: Iterable[str], words: str, noun: str, plural: str = ""
) -> list[Notice]:
    """Returns a notice whose sentence begins with the number of the names, if there are any."""
    names = tuple(names)
    sentence = f"{counted(len(names), noun, plural)} {words}"
    return [Notice(reason, sentence, len(names), names)] if names else []
