"""What was left out, cut or changed on the way, so that nothing is without a word."""

from dataclasses import dataclass


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
