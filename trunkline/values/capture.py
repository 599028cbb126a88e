"""What a head keeps of its traffic for people to look at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Capture:
    """Shares of the traffic that are kept, from 0 to 1, and bounds of it.

    Rules are tried on `share` of the rows of requests that name no version, and each has a share of
    its own of these: `random_share` of all, which alone tell how often answers are right; of those
    whose two highest probabilities are less than `uncertain_margin` apart; of those that are like
    none of the examples; of those whose set at `conformal_level` has not exactly one class. Without
    a rule only those are kept whose request asks for it. At most `per_hour` are taken in an hour,
    and `max_count` of `max_bytes` kept at a time, for so many `days`.
    """

    share: float = 1.0
    per_hour: int = 60
    random_share: float = 0.0
    uncertain_share: float = 0.0
    uncertain_margin: float = 0.2
    novel_share: float = 0.0
    conformal_share: float = 0.0
    conformal_level: float = 0.9
    max_count: int = 2000
    max_bytes: int = 250_000_000
    days: int = 30
