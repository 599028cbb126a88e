"""Labels that were answered: sent in small batches, so that few are ever at stake."""

from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.cli.output import Output
from trunkline.clients.client import Client
from trunkline.values.outcomes import RowFailure

_BATCH = 10


@dataclass
class Answers:
    """The answers of one session, by digest.

    `given` are the labels, None for what was skipped; `failures` says why others were not stored.
    `name` says what a person calls the input with a digest.
    """

    client: Client
    out: Output
    head: str
    name: Callable[[str], str]
    given: dict[str, str | None] = field(default_factory=dict)
    failures: dict[str, RowFailure] = field(default_factory=dict)
    _unsent: dict[str, str | None] = field(default_factory=dict)
    _stored: set[str] = field(default_factory=set)

    @property
    def labelled(self) -> dict[str, str]:
        """The labels that were given."""
        return {digest: label for digest, label in self.given.items() if label is not None}

    def take(self, digest: str, label: str) -> None:
        """Takes a label; every tenth change sends what was not sent."""
        self.failures.pop(digest, None)
        self.given[digest] = label
        self._change(digest, label)

    def skip(self, digest: str) -> None:
        """Notes that no label is to be given."""
        self.given[digest] = None

    def take_back(self, digest: str) -> None:
        """Takes an answer back: if its label is stored by now, that is taken away again."""
        self.given.pop(digest, None)
        if digest in self._stored:
            self._change(digest, None)
        else:
            self._unsent.pop(digest, None)

    def send(self) -> None:
        """Sends what was not sent yet."""
        if not self._unsent:
            return
        digests = list(self._unsent)
        changes = self.client.update_examples(self.head, self._unsent)
        failed = {digests[row.row]: row for row in changes.failures}
        for digest, label in self._unsent.items():
            if label is None or digest in failed:
                self._stored.discard(digest)
            else:
                self._stored.add(digest)
        self._unsent.clear()
        self.failures |= failed
        for digest in failed:
            self.given.pop(digest, None)
        self.out.failures([(self.name(digest), row) for digest, row in failed.items()])

    def send_rest(self) -> None:
        """Sends what was not sent yet, and names what could not be."""
        try:
            self.send()
        except BaseException:
            for digest, label in self._unsent.items():
                self.out.say(f"not sent: {self.name(digest)}: {label or 'without a label again'}")
            raise

    def _change(self, digest: str, label: str | None) -> None:
        self._unsent[digest] = label
        if len(self._unsent) >= _BATCH:
            self.send()
