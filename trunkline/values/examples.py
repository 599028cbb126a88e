"""What a head learns from: examples, those worth a label, and feedback; frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from trunkline.values.inputs import Input, InputLike
from trunkline.values.sequences import check_label, pair_of


@dataclass(frozen=True)
class NewExample:
    """An input to store, with its label; label None for one that is not known yet.

    `weight`, above 0, is how much it counts in trainings. One that is `held_out` is kept for
    testing: it is not trained on, and versions that are made from then on are measured on it.
    `group` is what it belongs to, such as a scene or a document, in at most 256 bytes: examples of
    one group are no independent evidence. None leaves a stored example's group as it is, "" takes
    it away. `external_id` is your own name for it, such as the path of its file, in at most 256
    bytes; None and "" mean likewise. `metadata` is what else you say of it, at most 16 short pairs;
    None leaves a stored example's as they are, others take their place, all of them.
    """

    input: InputLike
    label: str | None = None
    weight: float = 1.0
    held_out: bool = False
    group: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, str] | None = None


ExampleLike = NewExample | tuple[InputLike, str | None]


def as_example(value: ExampleLike, row: int = 0) -> NewExample:
    """Returns the example that `value`, perhaps a mere pair of input and label, stands for.

    Raises `InvalidType` for anything else, and `InvalidArgument` for a label that is no text, with
    the row that it is.
    """
    example = value if isinstance(value, NewExample) else NewExample(*pair_of(value, row))
    if example.label is not None:
        check_label(example.label, row)
    return example


@dataclass(frozen=True)
class Example:
    """A stored input of a head. `kind` is "image", "text", "pixels" or "embedding".

    `weight` is how much it counts in trainings; one that is `held_out` is kept for testing; a
    `truncated` one is a text that is longer than the backbone's window. `group` is what it belongs
    to, None if to nothing. `external_id` is what whoever uploaded it calls it, if anything, and
    `metadata` what they say of it. `reviewer` is the key of who said in a review that it has this
    label, "" of others. `input` is the input itself, where it is kept and was asked for.
    """

    digest: str
    label: str | None
    kind: str
    source: str
    has_input: bool
    create_time: datetime
    weight: float
    held_out: bool
    truncated: bool = False
    group: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    reviewer: str = ""
    input: Input | None = None


@dataclass(frozen=True)
class FoundExamples:
    """Examples that were searched for, oldest first, and whether there are `more`.

    `not_searched` examples have all that was asked for beside words, and no text that is kept.
    """

    examples: tuple[Example, ...]
    more: bool
    not_searched: int


@dataclass(frozen=True)
class SimilarExample:
    """A stored example, and the cosine of the angle between its embedding and an input's."""

    example: Example
    similarity: float


@dataclass(frozen=True)
class SimilarExamples:
    """The examples that are nearest to the input with this digest, nearest first.

    `truncated` says that it is a text longer than the backbone's window. `not_compared` examples
    have no embedding that could be compared.
    """

    similar: tuple[SimilarExample, ...]
    digest: str
    truncated: bool
    not_compared: int


@dataclass(frozen=True)
class Suggestion:
    """A stored input that is worth a label.

    `predicted_label` and its `probability` are what the head says of it; None and 0 without an
    active version. `input` is the input itself, where it is kept.
    """

    example: Example
    predicted_label: str | None
    probability: float
    input: Input | None


@dataclass(frozen=True)
class Suggestions:
    """Suggestions, most worth a label first, and the strategy that found them."""

    suggestions: tuple[Suggestion, ...]
    strategy: str


class FeedbackState(StrEnum):
    """What became of a feedback.

    LIVE is behind the live copy, LEARNED part of a version, QUARANTINED left out of trainings until
    it is released; of a SUPERSEDED one a later label of the same input took the place.
    """

    LIVE = "live"
    LEARNED = "learned"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class FeedbackRecord:
    """A stored feedback; `active_version` answered when it came.

    `active_right` and `live_right` say whether the active version and the live copy had been right
    before they learned it; None until they were asked.
    """

    id: str
    digest: str
    label: str
    state: FeedbackState
    active_version: int | None
    active_right: bool | None
    live_right: bool | None
    create_time: datetime
