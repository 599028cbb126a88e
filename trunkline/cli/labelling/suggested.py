"""Stored inputs that are most worth a label, and the labels that they are given."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from trunkline.cli.labelling.answers import Answer
from trunkline.cli.labelling.items import Item, Items
from trunkline.cli.labelling.questions import MOST_OFFERED, Guess
from trunkline.cli.naming import kept_name, shown_name
from trunkline.cli.output import short_digest
from trunkline.clients.client import Client
from trunkline.datasets import FileInput
from trunkline.errors import PermissionDenied
from trunkline.values.examples import Suggestion
from trunkline.values.inputs import Digest
from trunkline.values.outcomes import Prediction, RowFailure


@dataclass(frozen=True)
class Suggested:
    """Suggestions of a head; `files` are the inputs at hand by their digests."""

    client: Client
    head: str
    suggestions: Sequence[Suggestion]
    files: Mapping[str, FileInput]

    def items(self) -> Items:
        """Returns them as items to ask about, by their digests."""
        rows = zip(self.suggestions, self._guesses(), strict=True)
        return Items(
            Item(
                row.example.digest,
                self._shown(row),
                guess,
                self.files.get(row.example.digest) or row.input,
            )
            for row, guess in rows
        )

    def store(self, changes: Mapping[str, Answer | None]) -> dict[str, RowFailure]:
        """Stores labels by digest, None to take one away; returns what failed."""
        digests = list(changes)
        labels = (answer if isinstance(answer, str) else None for answer in changes.values())
        found = self.client.update_examples(self.head, dict(zip(digests, labels, strict=True)))
        return {digests[row.row]: row for row in found.failures}

    def as_json(self, labels: Mapping[str, str]) -> list[dict[str, object]]:
        """Returns what was labelled, as JSON has it."""
        return [
            {
                "digest": row.example.digest,
                "name": self._name(row),
                "label": labels[row.example.digest],
                "predicted_label": row.predicted_label,
                "probability": row.probability,
            }
            for row in self.suggestions
            if row.example.digest in labels
        ]

    def _name(self, suggestion: Suggestion) -> str | None:
        """Returns what a person calls the input: its place, what it says, or its external id."""
        if found := self.files.get(suggestion.example.digest):
            return shown_name(found)
        return kept_name(suggestion.input, suggestion.example.external_id)

    def _shown(self, suggestion: Suggestion) -> str:
        """Returns the name, or the digest of an input that has none; and whether it was cut."""
        example = suggestion.example
        name = self._name(suggestion) or f"{example.kind} {short_digest(example.digest)}"
        return f"{name} (longer than the backbone's window)" if example.truncated else name

    def _guesses(self) -> list[Guess]:
        """Returns what the head says of each; of the likeliest classes, where it can tell."""
        scores: Sequence[Prediction | RowFailure | None] = [None] * len(self.suggestions)
        if any(row.predicted_label for row in self.suggestions):
            digests = [Digest(row.example.digest) for row in self.suggestions]
            # A key for labelling alone has the guess, and no scores of other classes.
            with suppress(PermissionDenied):
                # By digest there is no image to make views of.
                scores = self.client.predict(
                    self.head, digests, MOST_OFFERED, average_views=0, capture="never"
                )
        return [
            Guess(
                row.predicted_label,
                row.probability,
                found.scores if isinstance(found, Prediction) else {},
            )
            for row, found in zip(self.suggestions, scores, strict=True)
        ]
