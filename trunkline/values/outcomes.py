"""What the client gives out: frozen values, free of protobuf and of numpy.

Heads, examples, reports and advice are in the files beside it.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from trunkline.values.estimates import Estimate


@dataclass(frozen=True)
class Backbone:
    """A frozen model that the server has loaded; its embeddings have `dim` floats.

    Tails begin at its `cut`, and `tail_blocks` names the blocks after it, in their order; "" and
    none of a backbone that cannot be cut.
    """

    name: str
    modality: str
    dim: int
    fingerprint: str
    engine: str
    device: str
    ready: bool
    cut: str
    tail_blocks: tuple[str, ...]


class TrainingState(StrEnum):
    """Where a training stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class TuningProgress:
    """How far fine-tuning is: in which epoch of which fold, both counted from 1.

    `fold` is None in the epochs on all examples, which come after the folds and have no validation.
    `loss` is the mean over the examples of the last epoch; `remaining_seconds` is a guess. `views`
    are what the fold is trained on beside the images themselves: "none", "flips" or "crops". Of
    `most_passes` epochs of single folds, which choosing views may take in all, `passes` are done.
    """

    fold: int | None
    folds: int
    epoch: int
    epochs: int
    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    remaining_seconds: float
    views: str = "none"
    passes: int = 0
    most_passes: int = 0


@dataclass(frozen=True)
class Training:
    """A training job. `progress` runs from 0 to 1; `version` is set once it succeeded.

    `tuning` is None but while blocks are fine-tuned. `activated` says whether the version became
    the active one, `inactive_reason` why not. `removed_versions` had to go for it, oldest first, as
    the server bounds them.
    """

    name: str
    state: TrainingState
    phase: str
    progress: float
    version: int | None
    error_code: str
    error_message: str
    create_time: datetime
    end_time: datetime | None
    tuning: TuningProgress | None
    activated: bool = False
    inactive_reason: str = ""
    removed_versions: tuple[int, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the state is final."""
        return self.state not in (TrainingState.QUEUED, TrainingState.RUNNING)


@dataclass(frozen=True)
class RowFailure:
    """Why one row failed; it stands in the row's place among the results. `row` counts from 0."""

    row: int
    code: str
    message: str
    field: str = ""
    limit: str = ""
    value: str = ""


class Decision(StrEnum):
    """What is to become of an answer, by the head's rule."""

    ACCEPT = "accept"
    REVIEW = "review"


@dataclass(frozen=True)
class Neighbour:
    """A labelled example near to what was predicted; `similarity` is a cosine."""

    digest: str
    label: str
    similarity: float
    external_id: str | None = None


@dataclass(frozen=True)
class Prediction:
    """One row's classes. `scores` maps label to calibrated probability, most probable first.

    `prediction_set` holds the right class with the probability that was asked for, and may be
    empty; None if none was asked for. `novelty`, of heads that look for it, is the distance from
    the examples in units of the threshold: above 1 the row is `novel`. Where the head `abstained`
    from an answer, `label` is None, `probability` 0 and `scores` empty. `live` says whether the
    live copy answered, which has learned since `version` was made. `truncated` says that the text
    is longer than the backbone's window, so that its end had no part. `neighbours` are the nearest
    labelled examples, nearest first, where they were asked for. `decision` is None of a head that
    decides nothing; it rests on what is known of `version`, also where the live copy answers.
    `described` says that the version stands on descriptions of labels, in part at least: nothing is
    known of how right it is there.
    """

    label: str | None
    probability: float
    scores: Mapping[str, float]
    digest: str
    head: str
    version: int
    prediction_set: tuple[str, ...] | None = None
    novelty: float | None = None
    novel: bool = False
    abstained: bool = False
    live: bool = False
    truncated: bool = False
    neighbours: tuple[Neighbour, ...] = ()
    decision: Decision | None = None
    described: bool = False


@dataclass(frozen=True)
class Classification:
    """What became of inputs that were classified by examples that came with them.

    `outcomes` has, in order, the prediction of each input or why that row failed; predictions name
    no head, and version 0. `estimate` says how right such answers are, by examples held out in
    turn; None where there are too few for that. `family` is that of the head that was fitted, on
    embeddings by `backbone`. `example_failures` are of examples that had no part, and
    `truncated_examples` the rows of those whose text is longer than the backbone's window.
    """

    outcomes: tuple[Prediction | RowFailure, ...]
    estimate: Estimate | None
    family: str
    backbone: str
    example_failures: tuple[RowFailure, ...] = ()
    truncated_examples: tuple[int, ...] = ()


@dataclass(frozen=True)
class Embedding:
    """One row's embedding: `vector` is an array of `dim` float32, with the buffer protocol.

    `truncated` says that the text is longer than the backbone's window.
    """

    vector: "array[float]" = field(repr=False)
    digest: str
    backbone: str
    fingerprint: str
    truncated: bool = False


@dataclass(frozen=True)
class Receipt:
    """Feedback that is stored durably; `duplicate` if its id had been stored before.

    `truncated` says that the text is longer than the backbone's window; `previous_label` is the one
    that the input had until then, if feedback gave it another.
    """

    id: str
    digest: str
    duplicate: bool
    truncated: bool = False
    previous_label: str | None = None


@dataclass(frozen=True)
class UploadProgress:
    """How far an upload is.

    `rows` are done: the server has acknowledged them, stored or refused, or they could not be read
    here. `known` of them were sent as digests. `sent_bytes` counts the bytes of inputs.
    `waiting` rows were looked up and come next, `waiting_known` of them as digests. While advice is
    asked for, which stores nothing, `rows` were sent, and nothing is acknowledged before the end.
    """

    rows: int
    known: int
    sent_bytes: int
    waiting: int = 0
    waiting_known: int = 0


class UploadChange(StrEnum):
    """What a row of an upload did, or did not do, to an example that was there already.

    LABEL_REPLACED: its label took the place of an earlier upload's. CORRECTION_REPLACED: that of a
    correction by feedback. CORRECTION_KEPT: it repeats what uploads said before, so that a
    correction stands. ROW_CONTRADICTED: an earlier row had the same input with another label, which
    does not count. ROW_REPEATED: one had it with the same label, or without. TRAINED_ON: it was
    held out until now; HELD_OUT: it was trained on. WEIGHT, GROUP, EXTERNAL_ID, METADATA: it has
    another one now.
    """

    LABEL_REPLACED = "label_replaced"
    CORRECTION_REPLACED = "correction_replaced"
    CORRECTION_KEPT = "correction_kept"
    ROW_CONTRADICTED = "row_contradicted"
    ROW_REPEATED = "row_repeated"
    TRAINED_ON = "trained_on"
    HELD_OUT = "held_out"
    WEIGHT = "weight"
    GROUP = "group"
    EXTERNAL_ID = "external_id"
    METADATA = "metadata"


@dataclass(frozen=True)
class ChangedRow:
    """A change by one row of an upload; `row` counts from 0.

    Of a change of labels, `to_label` counts now, and `from_label` does not: it was there before, or
    the row gave it and a correction stands. Both are None for other changes.
    """

    row: int
    digest: str
    change: UploadChange
    from_label: str | None = None
    to_label: str | None = None


@dataclass(frozen=True)
class Upload:
    """What became of an upload.

    `added`, `updated` and `unchanged` count examples as the server does; where a broken stream was
    continued, rows stored before the break count as unchanged. `known` rows were sent as digests.
    `truncated_count` texts are longer than the backbone's window, so that their ends have no part;
    `truncated` are the first of their rows.
    `changes` are those to examples that were there already, and `change_counts` says how many there
    are of each kind: above 5,000 in 5,000 rows some are not named. What a stream had changed before
    it broke is in neither; `interruptions` says how many did.
    """

    rows: int
    added: int
    updated: int
    unchanged: int
    failed: int
    failures: tuple[RowFailure, ...]
    known: int
    sent_bytes: int
    truncated_count: int = 0
    truncated: tuple[int, ...] = ()
    changes: tuple[ChangedRow, ...] = ()
    change_counts: Mapping[UploadChange, int] = field(default_factory=dict)
    interruptions: int = 0


@dataclass(frozen=True)
class Changes:
    """How many stored examples a call changed, and the rows that failed.

    Of updates, `corrections_replaced` counts labels that were corrections by feedback.
    """

    changed: int
    failures: tuple[RowFailure, ...]
    corrections_replaced: int = 0


@dataclass(frozen=True)
class Forgotten:
    """What became of a call to forget examples.

    `deleted_versions` knew one of them and are gone; `version`, fitted without them, answers now;
    None where too few examples are left. `held_by` names other heads of the tenant that hold one
    of them still.
    """

    forgotten: int
    failures: tuple[RowFailure, ...]
    deleted_versions: tuple[int, ...]
    version: int | None
    held_by: tuple[str, ...]
