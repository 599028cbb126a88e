"""What the client takes and gives: frozen values, free of protobuf and of numpy."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True)
class HeadSpec:
    """How a head is trained.

    `family` is "auto", "logistic" or "ridge"; the same examples, spec and seed give the same head;
    `l2` fixes the strength of the regularisation, which the family chooses itself where it is None.
    """

    family: str = "auto"
    seed: int = 0
    l2: float | None = None


@dataclass(frozen=True)
class Backbone:
    """A frozen model that the server has loaded; its embeddings have `dim` floats."""

    name: str
    modality: str
    dim: int
    fingerprint: str
    engine: str
    device: str
    ready: bool


@dataclass(frozen=True)
class Head:
    """A tenant's head. `active_version` and `training` are None while there is none."""

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


@dataclass(frozen=True)
class Version:
    """An immutable trained or imported head; `source` is "training" or "import"."""

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


@dataclass(frozen=True)
class Export:
    """A version and its weights as a safetensors file, which `import_head` reads back."""

    version: Version
    safetensors: bytes = field(repr=False)


@dataclass(frozen=True)
class Example:
    """A stored input of a head. `kind` is "image", "text", "pixels" or "embedding"."""

    digest: str
    label: str | None
    kind: str
    source: str
    has_input: bool
    create_time: datetime


class TrainingState(StrEnum):
    """Where a training stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Training:
    """A training job. `progress` runs from 0 to 1; `version` is set once it succeeded."""

    name: str
    state: TrainingState
    phase: str
    progress: float
    version: int | None
    error_code: str
    error_message: str
    create_time: datetime
    end_time: datetime | None

    @property
    def done(self) -> bool:
        """Whether the state is final."""
        return self.state not in (TrainingState.QUEUED, TrainingState.RUNNING)


@dataclass(frozen=True)
class Estimate:
    """Accuracy and log-loss on examples the scoring model had not seen.

    `accuracy_low` and `accuracy_high` bound the 95 % Wilson score interval.
    """

    method: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float


@dataclass(frozen=True)
class Candidate:
    """A family that `auto` considered; one too costly for the data has no estimate."""

    family: str
    l2: float
    estimate: Estimate | None
    chosen: bool


@dataclass(frozen=True)
class ClassReport:
    """One class and how many examples of it a version was trained on."""

    label: str
    examples: int


@dataclass(frozen=True)
class Report:
    """What is known about a version without a held-out set; an imported one has no estimate."""

    head: str
    version: int
    family: str
    spec: HeadSpec
    backbone: str
    fingerprint: str
    example_count: int
    classes: tuple[ClassReport, ...]
    estimate: Estimate | None
    l2: float | None
    temperature: float
    train_seconds: float
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class RowFailure:
    """Why one row failed; it stands in the row's place among the results. `row` counts from 0."""

    row: int
    code: str
    message: str
    field: str = ""
    limit: str = ""
    value: str = ""


@dataclass(frozen=True)
class Prediction:
    """One row's classes. `scores` maps label to calibrated probability, most probable first."""

    label: str
    probability: float
    scores: Mapping[str, float]
    digest: str
    head: str
    version: int


@dataclass(frozen=True)
class Embedding:
    """One row's embedding: `vector` is an array of `dim` float32, with the buffer protocol."""

    vector: "array[float]" = field(repr=False)
    digest: str
    backbone: str
    fingerprint: str


@dataclass(frozen=True)
class Receipt:
    """Feedback that is stored durably; `duplicate` if its id had been stored before."""

    id: str
    digest: str
    duplicate: bool


@dataclass(frozen=True)
class UploadProgress:
    """How far an upload is: rows handed over, those among them that were known, bytes sent."""

    rows: int
    known: int
    sent_bytes: int


@dataclass(frozen=True)
class Upload:
    """What became of an upload.

    `added`, `updated` and `unchanged` count examples as the server does; where a broken stream was
    continued, rows stored before the break count as unchanged. `known` rows were sent as digests.
    """

    rows: int
    added: int
    updated: int
    unchanged: int
    failed: int
    failures: tuple[RowFailure, ...]
    known: int
    sent_bytes: int


@dataclass(frozen=True)
class Changes:
    """How many stored examples a call changed, and the rows that failed."""

    changed: int
    failures: tuple[RowFailure, ...]
