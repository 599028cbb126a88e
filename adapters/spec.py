"""How a head is to be trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from adapters.errors import InvalidSpec
from adapters.json_reading import read

FAMILIES = ("logistic", "ridge", "lda", "prototype")
"""Names of the families of heads, in the order `auto` reports them."""

FRONTS = ("standardise", "normalise", "projection")
"""What may stand between embedding and head."""

AUTO = "auto"
BALANCED = "balanced"
MAX_SEED = 2**64 - 1
MAX_VIEWS = 32
FLIPS = 3
CROPS = 3
"""Crops of each image that a tuning which chooses its views may train on."""

MAX_NOISE = 10.0
MIN_L2, MAX_L2 = 1e-9, 1e12
MIN_CLASS_WEIGHT, MAX_CLASS_WEIGHT = 1e-3, 1e3


@dataclass(frozen=True, slots=True)
class Augmentation:
    """More examples made of each one; used only where it helps on held-out examples.

    Attributes:
        views: views of each image, or noisy copies of each other embedding; 0 for none.
        noise: of noisy copies: standard deviation in units of each feature's own.

    Raises:
        InvalidSpec: if a field is out of range.
    """

    views: int = 0
    noise: float = 0.1

    def __post_init__(self) -> None:
        _expect(0 <= self.views <= MAX_VIEWS, "augment.views", f"from 0 to {MAX_VIEWS}", self.views)
        good = math.isfinite(self.noise) and 0 < self.noise <= MAX_NOISE
        _expect(good, "augment.noise", f"above 0, at most {MAX_NOISE}", self.noise)


@dataclass(frozen=True, slots=True)
class NoveltySpec:
    """Recognising inputs that are like none of the examples.

    Attributes:
        false_alarm_rate: share of ordinary inputs that may be called novel.
        abstain: whether novel rows get no answer.

    Raises:
        InvalidSpec: if a field is out of range.
    """

    false_alarm_rate: float = 0.05
    abstain: bool = False

    def __post_init__(self) -> None:
        good = 0 < self.false_alarm_rate < 1
        _expect(good, "novelty.false_alarm_rate", "above 0, below 1", self.false_alarm_rate)


STRATEGIES = ("none", "last_block", "gradual", "tail", "full")
"""What may be fine-tuned: nothing; the last block; from the last block towards the cut, while it
helps; all blocks after the cut at once; the whole backbone."""

NO_TUNING = "none"
NO_VIEWS, FLIPPED, CROPPED = "none", "flips", "crops"
"""Kinds of views that a tail may be tuned on."""

MAX_EPOCHS = 100
MAX_LEARNING_RATE = 0.1


@dataclass(frozen=True, slots=True)
class ViewSet:
    """Views of each image that a tail is tuned on beside the image itself.

    Attributes:
        kind: `NO_VIEWS`, `FLIPPED` (mirrored, upside down, and both) or `CROPPED` (half of them
            mirrored, with other colours).
        count: how many of each image; 0 for none.
    """

    kind: str = NO_VIEWS
    count: int = 0

    @property
    def flips(self) -> bool:
        """Whether they are flips."""
        return self.kind == FLIPPED

    def __str__(self) -> str:
        return f"{self.count} {self.kind}" if self.count else "no views"

    @property
    def name(self) -> str:
        """In the names of what is kept of a tuning on them."""
        return f"{self.kind}-{self.count}"


@dataclass(frozen=True, slots=True)
class FineTune:
    """Adapting the last blocks of the backbone to one head.

    Attributes:
        strategy: one of `STRATEGIES`.
        max_epochs: passes over the examples at most; how many is chosen on folds.
        learning_rate: highest rate of the last block.
        rate_decay: factor of the rate from each block to the one before it (discriminative rates;
            Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.2).
        views: views of each image to train on beside the image itself, 0 for none; None lets the
            folds choose, unless `flips` names all of them.
        flips: whether these views are the image mirrored, upside down, and both, in this order:
            for images that have no up and down.

    Raises:
        InvalidSpec: if a field is out of range.
    """

    strategy: str = NO_TUNING
    max_epochs: int = 12
    learning_rate: float = 8e-4
    rate_decay: float = 0.9
    views: int | None = None
    flips: bool = False

    def __post_init__(self) -> None:
        if self.flips and self.views is None:
            object.__setattr__(self, "views", FLIPS)
        _expect_one_of("fine_tune.strategy", self.strategy, STRATEGIES)
        good = 1 <= self.max_epochs <= MAX_EPOCHS
        _expect(good, "fine_tune.max_epochs", f"from 1 to {MAX_EPOCHS}", self.max_epochs)
        good = 0 < self.learning_rate <= MAX_LEARNING_RATE
        limit = f"above 0, at most {MAX_LEARNING_RATE}"
        _expect(good, "fine_tune.learning_rate", limit, self.learning_rate)
        good = 0 < self.rate_decay <= 1
        _expect(good, "fine_tune.rate_decay", "above 0, at most 1", self.rate_decay)
        views = self.views or 0
        _expect(0 <= views <= MAX_VIEWS, "fine_tune.views", f"from 0 to {MAX_VIEWS}", views)
        if self.flips:
            good = 1 <= views <= FLIPS
            _expect(good, "fine_tune.views", f"from 1 to {FLIPS} with flips", views)

    @property
    def wanted(self) -> bool:
        """Whether anything is to be fine-tuned."""
        return self.strategy != NO_TUNING

    @property
    def named_views(self) -> ViewSet | None:
        """The views that the spec names; None where the folds are to choose."""
        if self.views is None:
            return None
        if not self.views:
            return ViewSet()
        return ViewSet(FLIPPED if self.flips else CROPPED, self.views)


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A training specification; the same examples, spec and seed give the same head.

    Attributes:
        family: one of `FAMILIES`, or "auto" to take the one with the lowest log-loss on examples
            it had not seen.
        seed: decides how examples are dealt into folds; from 0 to 2**64 - 1.
        l2: a fixed strength of the penalty `l2 / 2 * sum(weight ** 2)` that is added to the summed
            loss on standardised embeddings; chosen by validation when None.
        front: one of `FRONTS`: "standardise" (the default), "normalise" (to unit length, then
            standardise) or "projection" (seeded random features of standardised embeddings).
        class_weight: "balanced" weighs classes inversely to their number of examples; None weighs
            all alike.
        class_weights: weights by label in place of `class_weight`; a label that is not named
            weighs 1.
        augment: more examples made of each one.
        novelty: None for a head that does not look for novelty.
        fine_tune: what of the backbone to adapt; nothing by default.
        average_views: views of each image that predictions average over where a request does not
            say; no part of what is learned.

    Raises:
        InvalidSpec: if a field is out of range.
    """

    family: str = AUTO
    seed: int = 0
    l2: float | None = None
    front: str = "standardise"
    class_weight: str | None = None
    class_weights: Mapping[str, float] = field(default_factory=dict)
    augment: Augmentation = field(default_factory=Augmentation)
    novelty: NoveltySpec | None = None
    fine_tune: FineTune = field(default_factory=FineTune)
    average_views: int = 0

    def __post_init__(self) -> None:
        _expect_one_of("family", self.family, (AUTO, *FAMILIES))
        _expect_one_of("front", self.front, FRONTS)
        if self.class_weight is not None:
            _expect_one_of("class_weight", self.class_weight, (BALANCED,))
        _expect(0 <= self.seed <= MAX_SEED, "seed", f"from 0 to {MAX_SEED}", self.seed)
        if self.l2 is not None:
            good = MIN_L2 <= self.l2 <= MAX_L2
            _expect(good, "l2", f"from {MIN_L2:g} to {MAX_L2:g}", self.l2)
        for label, weight in self.class_weights.items():
            good = MIN_CLASS_WEIGHT <= weight <= MAX_CLASS_WEIGHT
            limit = f"from {MIN_CLASS_WEIGHT:g} to {MAX_CLASS_WEIGHT:g}"
            _expect(good, f"class_weights[{label}]", limit, weight)
        good = 0 <= self.average_views <= MAX_VIEWS
        _expect(good, "average_views", f"from 0 to {MAX_VIEWS}", self.average_views)
        if self.class_weight and self.class_weights:
            raise InvalidSpec(
                "class_weight and class_weights cannot be given together",
                field="class_weights",
                limit="one of the two",
                value=len(self.class_weights),
            )

    def to_json(self) -> dict[str, Any]:
        """Return a dict that `json.dumps` takes and `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned; what is missing takes its default."""
        return read(cls, data)


def _expect(good: bool, name: str, limit: str, value: float) -> None:
    if not good:
        raise InvalidSpec.at(name, "{field} must be {limit}, is {value}", limit, value)


def _expect_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidSpec.at(
            name, "{field} {value!r} is unknown, expected one of {limit}", ", ".join(known), value
        )
