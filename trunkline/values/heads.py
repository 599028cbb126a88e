"""A head and what belongs to it: frozen values, free of protobuf and of numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from trunkline.values.capture import Capture
from trunkline.values.estimates import Estimate


@dataclass(frozen=True)
class Augmentation:
    """More examples made of each one, for small sets; used only where it helps.

    `views` of every image (flips, crops, colour) are embedded, or so many noisy copies made of
    every other embedding, with `noise` as standard deviation in units of each feature's own.
    """

    views: int = 0
    noise: float = 0.1


@dataclass(frozen=True)
class Novelty:
    """Recognising inputs that are like none of the examples.

    `false_alarm_rate` is the share of ordinary inputs that may be called novel. A head that
    abstains gives novel rows no answer.
    """

    false_alarm_rate: float = 0.05
    abstain: bool = False


@dataclass(frozen=True)
class FineTune:
    """Adapting the last blocks of the backbone to one head, which must keep its inputs.

    `strategy` is "last_block", "gradual" (from the last block towards the cut, while it helps),
    "tail" (all blocks after the cut at once) or "full" (the whole backbone). There are at most
    `max_epochs` passes over the examples; folds choose how many. `learning_rate` is the highest of
    the last block, `rate_decay` the factor from each block to the one before it. `views` of each
    image are trained on beside the image itself, 0 for none; with `flips` they are the image
    mirrored, upside down, and both, for images that have no up and down. Where neither is given,
    the folds choose: none, flips, or crops where the effort allows.
    """

    strategy: str
    max_epochs: int = 12
    learning_rate: float = 8e-4
    rate_decay: float = 0.9
    views: int | None = None
    flips: bool = False


@dataclass(frozen=True)
class HeadSpec:
    """How a head is trained: the same examples, spec and seed give the same head.

    `family` is "auto", "logistic", "ridge", "lda" or "prototype". `l2` fixes the strength of the
    regularisation, which the family chooses itself where it is None. `front`, what stands between
    embedding and head, is "standardise", "normalise" or "projection". `class_weight` "balanced"
    weighs classes inversely to their number of examples; `class_weights` in its place gives weights
    by label. A head whose `novelty` is None does not look for novelty; one whose `fine_tune` is
    None uses the backbone as everybody does. Predictions average over `average_views` of each image
    where a request does not say; None leaves the head's own setting as it is, which is 0 at first.
    """

    family: str = "auto"
    seed: int = 0
    l2: float | None = None
    front: str = "standardise"
    class_weight: str | None = None
    class_weights: Mapping[str, float] = field(default_factory=dict)
    augment: Augmentation = field(default_factory=Augmentation)
    novelty: Novelty | None = None
    fine_tune: FineTune | None = None
    average_views: int | None = None


class Policy(StrEnum):
    """What feedback does to predictions.

    IMMEDIATE: the live copy serves, and the very next prediction shows what was learned. GATED: the
    active version serves until the live copy is shown to be better. MANUAL: it serves until
    somebody says otherwise.
    """

    IMMEDIATE = "immediate"
    GATED = "gated"
    MANUAL = "manual"


@dataclass(frozen=True)
class Acceptance:
    """What is accepted of a version's answers: those more probable than `threshold`.

    Of `examples` held-out predictions that is `accepted`, which is `share`. Of these, `precision`
    are right, with an interval whose lower end is no lower than what the rule wants. `threshold`
    is None where nothing is accepted; `reason` says why.
    """

    version: int
    threshold: float | None
    share: float
    precision: float
    precision_low: float
    precision_high: float
    accepted: int
    examples: int
    reason: str


@dataclass(frozen=True)
class Decide:
    """A head's rule: of answers that are accepted, a share of `precision` is to be right.

    The threshold that a version gets keeps that in a share of `confidence` of all cases. Both are
    from 0.5 to 0.9999. `acceptance` is what that comes to for a version, and is never sent.
    """

    precision: float
    confidence: float = 0.95
    acceptance: Acceptance | None = None


class LiveState(StrEnum):
    """What a head's live copy does; HELD_BACK says that a guard keeps it from taking over."""

    IDLE = "idle"
    LEARNING = "learning"
    SERVING = "serving"
    HELD_BACK = "held back"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Drift:
    """Whether a change was found in how often the serving head is right (ADWIN).

    `window` is the number of feedbacks in the current window, `accuracy` the share of right answers
    in it.
    """

    detected: bool
    time: datetime | None
    window: int
    accuracy: float


@dataclass(frozen=True)
class LiveCopy:
    """What moves on from the active version with feedback.

    Of the `scored` feedbacks, on which both were scored before they were learned, the active
    version was right `active_right` times and the live copy `live_right` times. The evidence that
    it is better, or worse, is an e-value, which decides at 1 / `error_rate`. The two leave-one-out
    accuracies on the stored examples are None until they were compared. `near_copies` of the scored
    feedbacks were near-copies of earlier ones, and are no evidence. It is fitted with `family`;
    `chosen_on` says on how many examples that, front and strength were chosen last, 0 if they are
    the base version's.
    """

    state: LiveState
    reason: str
    base_version: int | None
    example_count: int
    feedback_count: int
    labels: tuple[str, ...]
    scored: int
    active_right: int
    live_right: int
    evidence_better: float
    evidence_worse: float
    error_rate: float
    active_leave_one_out: float | None
    live_leave_one_out: float | None
    drift: Drift
    near_copies: int = 0
    family: str = ""
    chosen_on: int = 0


@dataclass(frozen=True)
class Head:
    """A tenant's head. `active_version` and `training` are None while there is none.

    `allow_new_labels` says whether feedback may bring labels that the head does not have. `live`
    is None where the server was not asked for it: in lists. `held_out_count` examples are kept for
    testing; `quarantined_count` feedbacks are left out of trainings. `estimate` and
    `active_version_time`, when it was made, are of the active version, which may have no estimate.
    `decide` is None for a head that decides nothing. `capture` says what of the traffic is kept,
    None for nothing; `capture_count` such inputs wait for somebody to look at them.
    `label_descriptions` say what labels mean, empty in lists; the active version is `described` if
    it stands on some of them, of which no estimate knows.
    """

    name: str
    uid: str
    backbone: str
    fingerprint: str
    spec: HeadSpec
    keep_inputs: bool
    active_version: int | None
    labels: tuple[str, ...]
    example_count: int
    labelled_count: int
    feedback_count: int
    create_time: datetime
    training: str | None
    policy: Policy
    allow_new_labels: bool
    live: LiveCopy | None
    held_out_count: int
    quarantined_count: int
    estimate: Estimate | None = None
    active_version_time: datetime | None = None
    decide: Decide | None = None
    capture: Capture | None = None
    capture_count: int = 0
    label_descriptions: Mapping[str, str] = field(default_factory=dict)
    described: bool = False


@dataclass(frozen=True)
class Tail:
    """Fine-tuned blocks that a version runs on in place of the backbone's own.

    `fingerprint` is that of the embeddings it gives; `blocks` names the blocks that were changed,
    `size_bytes` is the size of their changed weights.
    """

    fingerprint: str
    strategy: str
    blocks: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class Version:
    """An immutable head.

    `source` is "training", "import", or "feedback" for a live copy that took over. `tail` is None
    on the frozen backbone, `estimate` where there is none. One that is `pinned` stays until it is
    unpinned. `description_count` of its examples are descriptions of labels.
    """

    name: str
    version: int
    active: bool
    source: str
    family: str
    spec: HeadSpec
    labels: tuple[str, ...]
    backbone: str
    fingerprint: str
    example_count: int
    create_time: datetime
    tail: Tail | None
    estimate: Estimate | None = None
    pinned: bool = False
    description_count: int = 0


@dataclass(frozen=True)
class ImportedVersion(Version):
    """A version that was imported; `removed_versions` had to go for it, oldest first."""

    removed_versions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Export:
    """A version: its weights as a safetensors file, which `import_head` reads back, and its card.

    `onnx`, where it was asked for, takes float32 "embedding" [n, dim] to float32 "probabilities"
    [n, classes]. `model_card` is Markdown. `tail` is a safetensors file of the fine-tuned blocks
    that the version runs on, named as in the library that the backbone is from; None on the frozen
    backbone.
    """

    version: Version
    safetensors: bytes = field(repr=False)
    onnx: bytes | None = field(default=None, repr=False)
    model_card: str = field(default="", repr=False)
    tail: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Promoted:
    """What became of a live copy that was promoted: the head, and the version it is now.

    `removed_versions` had to go for it, oldest first, as the server bounds them.
    """

    head: Head
    version: Version
    removed_versions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Dropped:
    """What became of a live copy that was dropped: `quarantined` feedbacks were behind it."""

    head: Head
    quarantined: int
