"""What has become of an upload so far."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trunkline.rows.upload_rows import Item
from trunkline.v1 import heads_pb2
from trunkline.values.outcomes import (
    ChangedRow,
    RowFailure,
    Upload,
    UploadChange,
    UploadProgress,
)


@dataclass
class Sent:
    """How much was handed over: rows, those among them that were known, bytes of inputs."""

    rows: int = 0
    known: int = 0
    nbytes: int = 0

    def add(self, items: Sequence[Item]) -> None:
        self.rows += len(items)
        self.known += sum(item.known for item in items)
        self.nbytes += sum(item.nbytes for item in items if not item.known)


class Tally:
    """What has happened so far."""

    def __init__(self, on_progress: Callable[[UploadProgress], None] | None) -> None:
        self._on_progress = on_progress
        self._sent = Sent()
        self._added = self._updated = self._unchanged = self._failed = self._interruptions = 0
        self._failures: list[RowFailure] = []
        self._truncated_count = 0
        self._truncated: list[int] = []
        self._changes: list[ChangedRow] = []
        self._counts: Counter[UploadChange] = Counter()

    def refused(self, failure: RowFailure) -> None:
        """Counts a row that could not even be sent."""
        self._sent.rows += 1
        self._failed += 1
        self._failures.append(failure)

    def report(self, waiting: Sequence[Sequence[Item]]) -> None:
        """Tells how much is acknowledged until now, and what comes next."""
        if self._on_progress:
            done = self._sent
            rows = sum(map(len, waiting))
            known = sum(item.known for part in waiting for item in part)
            self._on_progress(UploadProgress(done.rows, done.known, done.nbytes, rows, known))

    def broken(self, stream: Sent) -> None:
        """Counts the bytes of a stream that broke; its rows will be handed over once more."""
        self._sent.nbytes += stream.nbytes
        self._interruptions += stream.rows > 0

    def changed(self, changes: Sequence[ChangedRow], counts: Mapping[UploadChange, int]) -> None:
        """Notes changes, and how many there are of each kind."""
        self._changes += changes
        self._counts.update(counts)

    def answered(
        self,
        reply: heads_pb2.AddExamplesResponse,
        stream: Sent,
        failures: Sequence[RowFailure],
        truncated: Sequence[int],
        again: int,
    ) -> None:
        """Counts a reply; `again` of its failed rows, all known, are handed over once more."""
        self._sent.rows += stream.rows - again
        self._sent.known += stream.known - again
        self._sent.nbytes += stream.nbytes
        self._added += reply.added
        self._updated += reply.updated
        self._unchanged += reply.unchanged
        self._failed += reply.failed - again
        self._failures += failures
        self._truncated_count += reply.truncated_count
        self._truncated += truncated

    def result(self) -> Upload:
        failed = {failure.row for failure in self._failures}
        self._counts.subtract(changed.change for changed in self._changes if changed.row in failed)
        changes = [changed for changed in self._changes if changed.row not in failed]
        return Upload(
            rows=self._sent.rows,
            added=self._added,
            updated=self._updated,
            unchanged=self._unchanged,
            failed=self._failed,
            failures=tuple(sorted(self._failures, key=lambda failure: failure.row)),
            known=self._sent.known,
            sent_bytes=self._sent.nbytes,
            truncated_count=self._truncated_count,
            truncated=tuple(sorted(self._truncated)),
            changes=tuple(sorted(changes, key=lambda changed: changed.row)),
            change_counts={change: count for change, count in self._counts.items() if count},
            interruptions=self._interruptions,
        )
