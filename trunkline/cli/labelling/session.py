"""A session of labelling: inputs one by one, forwards and one step back."""

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from trunkline.cli.labelling.answers import Answers
from trunkline.cli.labelling.questions import MOST_OFFERED, Command, Guess, Questions, help_words
from trunkline.cli.labelling.terminal import read_line
from trunkline.cli.labelling.viewer import Viewer
from trunkline.cli.naming import shown_name
from trunkline.cli.output import Output, one_line, short_digest
from trunkline.clients.client import Client
from trunkline.datasets import FileInput
from trunkline.errors import PermissionDenied
from trunkline.values.examples import Suggestion
from trunkline.values.inputs import Digest, Text
from trunkline.values.outcomes import Prediction, RowFailure


@dataclass
class Session:
    """Asks for the labels of suggestions.

    `known` are the labels that the head has, `files` the inputs at hand by their digests; with a
    `viewer` each input is opened in it. `interrupt` is what has ended the questions, if one has.
    """

    client: Client
    out: Output
    head: str
    suggestions: Sequence[Suggestion]
    known: Sequence[str]
    files: Mapping[str, FileInput]
    viewer: Viewer | None = None
    answers: Answers = field(init=False)
    interrupt: KeyboardInterrupt | None = None

    def __post_init__(self) -> None:
        by_digest = {row.example.digest: row for row in self.suggestions}
        self.answers = Answers(
            self.client, self.out, self.head, lambda digest: self.shown(by_digest[digest])
        )

    def ask_all(self) -> None:
        """Asks for a label of each, until somebody quits; what was answered by then is sent."""
        if not self.suggestions:
            self.out.say("nothing without a label is stored")
            return
        guesses = self._guesses()
        self.out.say(help_words(self._labels()))
        try:
            with _interrupted_when_hung_up():
                self._ask(guesses)
        except KeyboardInterrupt as interrupt:
            self.interrupt = interrupt
            self.out.say("")
        finally:
            self.answers.send_rest()

    @property
    def labelled(self) -> list[dict[str, object]]:
        """What was labelled, as JSON has it."""
        labels = self.answers.labelled
        return [
            {
                "digest": row.example.digest,
                "name": self.name(row),
                "label": labels[row.example.digest],
                "predicted_label": row.predicted_label,
                "probability": row.probability,
            }
            for row in self.suggestions
            if row.example.digest in labels
        ]

    @property
    def skipped(self) -> int:
        """How many were skipped."""
        return sum(label is None for label in self.answers.given.values())

    @property
    def failures(self) -> list[tuple[str, RowFailure]]:
        """Those whose label was not stored, each with what a person calls its input."""
        failed = self.answers.failures
        return [(self.answers.name(digest), row) for digest, row in failed.items()]

    def name(self, suggestion: Suggestion) -> str | None:
        """Returns what a person calls the input: its place, what it says, or its external id."""
        if found := self.files.get(suggestion.example.digest):
            return shown_name(found)
        kept, called = suggestion.input, one_line(suggestion.example.external_id or "")
        if isinstance(kept, Text):
            text = shown_name(kept)
            return f"{text} ({called})" if called else text
        return called or None

    def shown(self, suggestion: Suggestion) -> str:
        """Returns the name, or the digest of an input that has none."""
        example = suggestion.example
        return self.name(suggestion) or f"{example.kind} {short_digest(example.digest)}"

    def _ask(self, guesses: Sequence[Guess]) -> None:
        questions = Questions(self.out, self.known)
        row, count = 0, len(self.suggestions)
        while row < count or self._wants_back():
            if row == count:
                row = self._back(row)
            suggestion = self.suggestions[row]
            cut = " (longer than the backbone's window)" if suggestion.example.truncated else ""
            self.out.say(f"\n[{row + 1}/{count}] {self.shown(suggestion)}{cut}")
            if self.viewer:
                found = self.files.get(suggestion.example.digest)
                self.viewer.show(found or suggestion.input)
            answer = questions.ask(guesses[row], self._labels())
            match answer:
                case Command.QUIT:
                    return
                case Command.BACK:
                    row = self._back(row)
                    continue
                case str():
                    self.answers.take(suggestion.example.digest, answer)
                case _:
                    self.answers.skip(suggestion.example.digest)
            row += 1

    def _back(self, row: int) -> int:
        """Takes the answer before this row back, and returns its row."""
        if row == 0:
            self.out.say("this is the first one")
            return row
        before = self.suggestions[row - 1]
        label = self.answers.given.get(before.example.digest)
        self.answers.take_back(before.example.digest)
        self.out.say(f"taken back: {label}" if label else "taken back")
        return row - 1

    def _wants_back(self) -> bool:
        """Asks whether the last answer, too, is meant; a pipe has no second thoughts."""
        if not sys.stdin.isatty():
            return False
        self.out.say("\nthat was the last one; Enter: done; b: back")
        answer = read_line(self.out)
        return answer is not None and answer.lower().removeprefix(":") == Command.BACK.value

    def _labels(self) -> list[str]:
        """Returns the labels of the head, and those that were given, oldest first."""
        return list(dict.fromkeys([*self.known, *self.answers.labelled.values()]))

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


@contextmanager
def _interrupted_when_hung_up() -> Iterator[None]:
    """Lets a terminal that is closed interrupt as Ctrl-C does, where it would kill."""
    if not hasattr(signal, "SIGHUP"):  # Windows
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
