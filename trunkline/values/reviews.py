"""Captured inputs under review, and the accuracy of what was served; frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from trunkline.values.inputs import Input
from trunkline.values.outcomes import Neighbour


class ReviewState(StrEnum):
    """What became of a captured input.

    It is WAITING, or was CONFIRMED to be what it was taken for, CORRECTED to another class,
    SKIPPED, said to be NONE_OF_THESE classes or JUNK; or it EXPIRED.
    """

    WAITING = "waiting"
    CONFIRMED = "confirmed"
    CORRECTED = "corrected"
    SKIPPED = "skipped"
    NONE_OF_THESE = "none_of_these"
    JUNK = "junk"
    EXPIRED = "expired"


class Judgement(StrEnum):
    """What can be said of a captured input in place of a label; REOPEN takes back what was said."""

    CONFIRM = "confirm"
    SKIP = "skip"
    NONE_OF_THESE = "none_of_these"
    JUNK = "junk"
    REOPEN = "reopen"


class ReviewOrder(StrEnum):
    """The newest first, or those of which the head was least sure."""

    NEWEST = "newest"
    LEAST_SURE = "least_sure"


@dataclass(frozen=True)
class Review:
    """A captured input with the answer it got: classes by probability, most probable first.

    `label` is what somebody said it is, `reviewer` the key that showed who. `lease_time` is until
    when it is leased to somebody. `input` is there where it is kept and was asked for, `neighbours`
    are the nearest labelled examples, nearest first, where they were asked for.
    """

    id: str
    state: ReviewState
    create_time: datetime
    expire_time: datetime | None
    digest: str
    kind: str
    has_input: bool
    answer: Mapping[str, float]
    version: int
    live: bool
    reason: str
    sampled_at_random: bool
    novelty: float | None = None
    external_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    judge_time: datetime | None = None
    reviewer: str = ""
    lease_time: datetime | None = None
    input: Input | None = None
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What a judgement came to.

    `feedback_id` is empty where it became no feedback, `duplicate` says that the same had been said
    before. `previous_label` is what the input had until then, if that is another. A `held_out`
    example keeps its label.
    """

    state: ReviewState
    feedback_id: str = ""
    duplicate: bool = False
    previous_label: str = ""
    held_out: bool = False


@dataclass(frozen=True)
class ServedAccuracy:
    """How often answers were right: `accuracy` of those that were judged, None where none was.

    The share of all that was served is from `accuracy_low` to `accuracy_high`, with a probability
    of 95 % at least, whatever is true of the `unknown` ones.
    """

    accuracy: float | None
    accuracy_low: float
    accuracy_high: float
    right: int
    wrong: int
    unknown: int


@dataclass(frozen=True)
class ServedClass:
    """`precision` is of the answers that named a class, `recall` of the inputs that are of it."""

    label: str
    precision: ServedAccuracy
    recall: ServedAccuracy


@dataclass(frozen=True)
class ServedPeriod:
    """A period that begins at `start_time`."""

    start_time: datetime
    accuracy: ServedAccuracy


@dataclass(frozen=True)
class ServedReport:
    """The accuracy of what was served, as a whole, by class and over time, oldest first.

    Of what was drawn at random, `waiting`, `skipped` and `expired` ones may have been right or not;
    `junk` does not count. `periods_left_out` are earlier ones that `periods` has no room for.
    """

    accuracy: ServedAccuracy
    classes: tuple[ServedClass, ...]
    periods: tuple[ServedPeriod, ...]
    waiting: int = 0
    skipped: int = 0
    expired: int = 0
    junk: int = 0
    periods_left_out: int = 0
