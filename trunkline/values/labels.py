"""Labels of a head: frozen values, free of protobuf and of numpy."""

from dataclasses import dataclass

from trunkline.values.heads import Head, Version
from trunkline.values.outcomes import Training


@dataclass(frozen=True)
class LabelCount:
    """What is stored of a label: examples to learn from, held-out ones, feedback that counts.

    `active` says whether the active version has it.
    """

    label: str
    example_count: int
    held_out_count: int
    feedback_count: int
    active: bool


@dataclass(frozen=True)
class ChangedLabels:
    """What became of a head whose labels were changed.

    `examples` had their label changed or taken away, `examples_deleted` are gone, and `feedback`
    was changed or no longer counts. A rename makes a `version`; merging and deleting start a
    `training`, whose version takes over. Either is None where there was nothing to make it of.
    `removed_versions` had to go for the one that a rename made, oldest first.
    """

    head: Head
    examples: int
    examples_deleted: int
    feedback: int
    version: Version | None = None
    training: Training | None = None
    removed_versions: tuple[int, ...] = ()


@dataclass(frozen=True)
class DescribedLabels:
    """What became of a head whose labels were described.

    `training` is what that started, None where nothing is left to train on. The descriptions of
    `truncated` labels are longer than the backbone's window.
    """

    head: Head
    training: Training | None = None
    truncated: tuple[str, ...] = ()
