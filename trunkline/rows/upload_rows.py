"""Inputs that occur more than once in an upload, and what its rows change about examples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trunkline import errors, replies
from trunkline.labels import unseen
from trunkline.v1 import heads_pb2
from trunkline.values.inputs import Digest, Input
from trunkline.values.outcomes import ChangedRow, UploadChange

_LABEL_BYTES = 256  # the server's limit, unless it is told another

_NAMES: tuple[Literal["external_id", "metadata"], ...] = ("external_id", "metadata")
_OF_LABELS = (UploadChange.LABEL_REPLACED, UploadChange.CORRECTION_KEPT)
_OF_ROWS = (UploadChange.ROW_CONTRADICTED, UploadChange.ROW_REPEATED)


@dataclass(frozen=True)
class Item:
    """A row to be stored. A file's bytes are read again when they are sent, and not held.

    `example` is the row's message without its input. `speaker` is the row that decides what is
    said of the input, itself unless it occurs again.
    """

    index: int
    speaker: int
    input: Input
    example: heads_pb2.NewExample
    digest: str
    nbytes: int
    held: int
    known: bool = False

    @property
    def sent_bytes(self) -> int:
        return len(self.digest) if self.known else self.nbytes

    @property
    def doubtful(self) -> bool:
        """Whether it has a label that the server may refuse, as far as that can be known here."""
        label = self.example.label
        fits = 0 < len(label.encode()) <= _LABEL_BYTES
        good = fits and label.strip() == label and unseen(label) is None
        return self.example.HasField("label") and not good

    def message(self) -> heads_pb2.NewExample:
        item = Digest(self.digest) if self.known else self.input
        try:
            message = heads_pb2.NewExample(input=item.message())
        except OSError as error:  # it could be read when its digest was taken
            raise errors.Aborted(
                f"a file changed during the upload: {error}", field="input"
            ) from error
        message.MergeFrom(self.example)
        return message


def settle(items: list[Item], given: dict[str, str]) -> tuple[list[Item], list[ChangedRow]]:
    """Gives all rows of an input the label of the last, and notes those that repeat it.

    So a stream that breaks may be sent again, and no message brings up what a later one takes
    back. A label that the server may refuse costs its own row alone, and is left to the server.

    Args:
        items: a part of the upload.
        given: labels by digest that rows gave, "" for none; this part's are added.
    """
    speakers: dict[str, Item] = {}
    changes: list[ChangedRow] = []
    for item in items:
        label, said = item.example.label, given.get(item.digest)
        if item.doubtful:
            continue
        if said is not None:
            changes.append(_repeated(item, said))
        if label:
            speakers[item.digest] = item
        given[item.digest] = label or said or ""
    return [_as_said(item, speakers.get(item.digest, item)) for item in items], changes


def named_once(items: list[Item], named: set[tuple[str, str]]) -> list[Item]:
    """Leaves external id and metadata to the first row of an input that has each.

    So the same upload, made again, changes nothing.

    Args:
        items: a part of the upload.
        named: digests with which of the two rows gave them; this part's are added.
    """
    return [item if item.doubtful else _without_repeated(item, named) for item in items]


def _without_repeated(item: Item, named: set[tuple[str, str]]) -> Item:
    message = heads_pb2.NewExample()
    message.CopyFrom(item.example)
    for field in _NAMES:
        if (item.digest, field) in named:
            message.ClearField(field)
        elif message.HasField(field):
            named.add((item.digest, field))
    return item if message == item.example else replace(item, example=message)


def _as_said(item: Item, speaker: Item) -> Item:
    """Returns the row with the speaker's label in place of its own."""
    if item is speaker or item.doubtful:
        return item
    message = heads_pb2.NewExample()
    message.CopyFrom(item.example)
    message.label = speaker.example.label
    return replace(item, example=message, speaker=speaker.index)


def _repeated(item: Item, said: str) -> ChangedRow:
    label = item.example.label
    if label and said and label != said:
        contradicted = UploadChange.ROW_CONTRADICTED
        return ChangedRow(item.index, item.digest, contradicted, said, label)
    return ChangedRow(item.index, item.digest, UploadChange.ROW_REPEATED)


def changes_told(
    reply: heads_pb2.AddExamplesResponse, order: Sequence[Item], given: Mapping[str, str]
) -> tuple[list[ChangedRow], Counter[UploadChange]]:
    """Returns the changes that the server tells, but for those that `settle` has noted.

    These are of rows that repeat an input, over the whole upload. To the server, a label that an
    earlier stream of it gave is one of another upload, and a correction that stands is news again.
    """
    changes: list[ChangedRow] = []
    counts = {replies.upload_change(item.change): item.rows for item in reply.change_counts}
    for row in reply.changes:
        item, change = order[row.row], replies.upload_change(row.change)
        own = change in _OF_LABELS and given.get(item.digest) == row.from_label
        if own or (change in _OF_ROWS and not item.doubtful):
            counts[change] -= 1
            continue
        labels = (row.from_label, row.to_label) if row.to_label else (None, None)
        changes.append(ChangedRow(item.speaker, row.digest, change, *labels))
    return changes, Counter({change: count for change, count in counts.items() if count})
