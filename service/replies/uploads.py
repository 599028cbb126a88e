"""What the reply to an upload says, gathered while its stream is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from service.replies.rows import row_error
from service.store.example_rules import UploadChange
from service.store.examples import NewExample, StoredRows
from trunkline.v1 import heads_pb2

MAX_NAMED_ROWS = 1000
"""Rows that failed, or whose text was truncated; the others are counted."""

MAX_NAMED_CHANGES = 5000
"""The number of rows that the client sends in one stream."""


class UploadReply:
    """Counts what rows did, and names the first that failed or changed something.

    Attributes:
        message: the reply so far.
        given: labels by digest that rows of the stream gave; None for those that gave none. There
            are never more than examples of a head.
    """

    def __init__(self, request_id: str) -> None:
        self.message = heads_pb2.AddExamplesResponse()
        self.given: dict[str, str | None] = {}
        self._request_id = request_id
        self._rows = 0
        self._counts: Counter[UploadChange] = Counter()

    def add(
        self,
        rows: int,
        new: Mapping[int, NewExample],
        stored: StoredRows,
        errors: Mapping[int, Exception],
    ) -> None:
        """Adds a message of the stream.

        Args:
            rows: how many it has.
            new: what was stored of them, by row.
            stored: what became of that, in the same order.
            errors: why others failed, by row.
        """
        self.message.added += stored.changes.count("added")
        self.message.updated += stored.changes.count("updated")
        self.message.unchanged += stored.changes.count("unchanged")
        self.message.failed += len(errors)
        for row, error in list(errors.items())[: MAX_NAMED_ROWS - len(self.message.errors)]:
            self.message.errors.append(row_error(self._rows + row, error, self._request_id))
        truncated = [self._rows + row for row, example in new.items() if example.truncated]
        self.message.truncated_count += len(truncated)
        self.message.truncated.extend(truncated[: MAX_NAMED_ROWS - len(self.message.truncated)])
        for (row, example), noted in zip(new.items(), stored.noted, strict=True):
            self.given[example.digest] = example.label or self.given.get(example.digest)
            for note in noted:
                self._counts[note.change] += 1
                if len(self.message.changes) < MAX_NAMED_CHANGES:
                    self.message.changes.add(
                        row=self._rows + row,
                        digest=example.digest,
                        change=_number(note.change),
                        from_label=note.from_label,
                        to_label=note.to_label,
                    )
        self._rows += rows
        del self.message.change_counts[:]
        for change in sorted(self._counts, key=_number):
            self.message.change_counts.add(change=_number(change), rows=self._counts[change])


def _number(change: UploadChange) -> heads_pb2.UploadChange.ValueType:
    return heads_pb2.UploadChange.Value(f"UPLOAD_CHANGE_{change.value}")
