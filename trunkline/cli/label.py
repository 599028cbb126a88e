"""`trunkline label`: what is most worth a label is shown, and labels are taken."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.naming import digest_of, names_of, shown_name
from trunkline.cli.output import Output, named_failures, short_digest
from trunkline.cli.reading import check_readable, repeat_notice, repeated_inputs
from trunkline.cli.upload_steps import failures_of, find_or_create, train_head, upload
from trunkline.clients.client import Client
from trunkline.datasets import Columns, FileInput, Notes, read_inputs
from trunkline.datasets.labels import read_label
from trunkline.errors import DatasetError
from trunkline.values.examples import NewExample, Suggestion
from trunkline.values.inputs import Text
from trunkline.values.outcomes import RowFailure
from trunkline.wording import accuracy

_BATCH = 10
_MOST_DIGITS = 9
_HELP = "Enter: the guess is right; a number or a label; s: skip; q: quit"


@click.command(short_help="Label the stored inputs that are most worth it.")
@head_argument
@click.argument("path", metavar="[PATH]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--count",
    type=click.IntRange(min=1, max=1000),
    default=10,
    show_default=True,
    help="How many to ask for.",
)
@click.option(
    "--strategy",
    type=click.Choice(["margin", "diverse", "random"]),
    help="How to choose them (default: the server's choice).",
)
@click.option("--train", "train_after", is_flag=True, help="Train a version at the end.")
@click.option(
    "--backbone", metavar="NAME", help="Backbone of a new head (default: by the data's modality)."
)
@column_options(labelled=False)
@client_command
def label(
    client: Client,
    out: Output,
    head: str,
    path: Path | None,
    count: int,
    strategy: str | None,
    train_after: bool,
    backbone: str | None,
    columns: Columns,
) -> None:
    """Label the inputs that a head has stored without one and that are most worth it.

    The inputs in PATH (a folder of images, or a table; labels in it are ignored) that the head does
    not have are stored first. Then they are shown one by one, with what the head takes them for.
    Answer with Enter if that is right, with a label or its number, with s to skip, with q to quit.
    Exits 1 if an input could not be stored or labelled.
    """
    check_columns(columns, path)
    notes = Notes()
    inputs = list(read_inputs(path, columns, notes)) if path else []
    if path:
        check_readable(path, inputs)
    out.notices([*notes.notices(), *repeat_notice(inputs, repeated_inputs(inputs))])
    if path:
        find_or_create(client, out, head, inputs, backbone=backbone)
    failures = _store_new(client, out, head, inputs)
    found = client.suggest_examples(head, count, strategy or "")
    session = _LabellingSession(client, out, head, _labels(client, head), names_of(inputs))
    session.ask_all(found.suggestions)
    failures += session.failures
    version = None
    if train_after and session.labelled:
        version = train_head(client, out, head).version
    _conclude(client, out, head, session, found.strategy, version, failures)
    if failures:
        raise click.exceptions.Exit(1)


@dataclass
class _LabellingSession:
    """Asks for labels, and sends them in small batches, so that few are ever at stake."""

    client: Client
    out: Output
    head: str
    labels: list[str]
    names: Mapping[str, str]
    labelled: list[dict[str, object]] = field(default_factory=list)
    failures: list[tuple[str, RowFailure]] = field(default_factory=list)
    skipped: int = 0
    _unsent: dict[str, str | None] = field(default_factory=dict)

    def ask_all(self, suggestions: Sequence[Suggestion]) -> None:
        """Asks for a label of each, until somebody quits; what was answered by then is sent."""
        if not suggestions:
            self.out.say("nothing without a label is stored")
            return
        self.out.say(_HELP)
        answers = self._answers(suggestions)
        try:
            for suggestion, label in answers:
                self._take(suggestion, label)
        except KeyboardInterrupt:
            self.out.say("")
        finally:
            self._send()

    def _answers(self, suggestions: Sequence[Suggestion]) -> Iterator[tuple[Suggestion, str]]:
        for number, suggestion in enumerate(suggestions, 1):
            cut = " (longer than the backbone's window)" if suggestion.example.truncated else ""
            self.out.say(f"\n[{number}/{len(suggestions)}] {self._name(suggestion)}{cut}")
            answer = self._ask(suggestion)
            if answer is None:
                return
            if answer:
                yield suggestion, answer
            else:
                self.skipped += 1

    def _ask(self, suggestion: Suggestion) -> str | None:
        """Asks for a label; returns "" to skip, None to quit."""
        guess = suggestion.predicted_label
        while True:
            self.out.say(self._offer(suggestion))
            answer = self._answer()
            if answer is None or self._is_command("q", answer):
                return None
            if self._is_command("s", answer):
                return ""
            if not answer and guess:
                return guess
            if chosen := self._read(answer):
                return chosen

    def _answer(self) -> str | None:
        """Reads the next line that is text; None at the end."""
        encoding = sys.stdin.encoding
        while True:
            click.echo("> ", nl=False, err=True)
            # As bytes: a text stream that meets a wrong one loses the good lines around it.
            line = sys.stdin.buffer.readline()
            shown = line.decode(encoding, errors="replace").strip()
            if not (line and sys.stdin.isatty()):
                self.out.say(shown)  # no terminal has shown it, or ended the line
            if not line:
                return None
            try:
                return line.decode(encoding).strip()
            except UnicodeDecodeError as error:
                self.out.say(f"an answer must be {encoding} text: {error.reason}")

    def _offer(self, suggestion: Suggestion) -> str:
        """Lists the labels by number, unless a label is a number itself; and the guess."""
        numbered = (f"{number}: {label}" for number, label in enumerate(self.labels, 1))
        offer = ", ".join(self.labels if self._numeric else numbered) or "no labels yet"
        guess = suggestion.predicted_label
        return f"{offer}; guess: {guess} ({suggestion.probability:.0%})" if guess else offer

    def _is_command(self, command: str, answer: str) -> bool:
        """Returns whether the answer is this command; also in upper case, if that is no label."""
        return answer == command or (answer == command.upper() and answer not in self.labels)

    def _read(self, answer: str) -> str | None:
        """Reads the label that an answer stands for; None if it stands for none."""
        try:
            answer = read_label(answer, Notes()) if answer else ""
        except DatasetError as error:
            self.out.say(error.message)
            return None
        if not answer or answer in self.labels:
            return answer or None
        if answer.isdecimal() and not self._numeric and self.labels:
            number = int(answer) if len(answer) <= _MOST_DIGITS else 0
            if 1 <= number <= len(self.labels):
                return self.labels[number - 1]
            self.out.say(f"there is no label number {number}")
            return None
        self.out.say(f"new label: {answer}")
        self.labels.append(answer)
        return answer

    @property
    def _numeric(self) -> bool:
        return any(label.isdecimal() for label in self.labels)

    def _take(self, suggestion: Suggestion, label: str) -> None:
        digest = suggestion.example.digest
        self._unsent[digest] = label
        self.labelled.append(
            {
                "digest": digest,
                "name": self.names.get(digest),
                "label": label,
                "predicted_label": suggestion.predicted_label,
                "probability": suggestion.probability,
            }
        )
        if len(self._unsent) == _BATCH:
            self._send()

    def _send(self) -> None:
        if not self._unsent:
            return
        digests = list(self._unsent)
        changes = self.client.update_examples(self.head, self._unsent)
        self._unsent.clear()
        failed = {digests[row.row] for row in changes.failures}
        self.labelled = [row for row in self.labelled if row["digest"] not in failed]
        where = [self.names.get(digest, digest) for digest in digests]
        named = [(where[row.row], row) for row in changes.failures]
        self.failures += named
        self.out.failures(named)

    def _name(self, suggestion: Suggestion) -> str:
        digest = suggestion.example.digest
        if digest in self.names:
            return self.names[digest]
        if isinstance(suggestion.input, Text):
            return shown_name(suggestion.input)
        return f"{suggestion.example.kind} {short_digest(digest)}"


def _store_new(
    client: Client, out: Output, head: str, inputs: Sequence[FileInput]
) -> list[tuple[str, RowFailure]]:
    """Uploads the inputs that the head does not have, without labels; returns what failed."""
    if not inputs:
        return []
    known = {row.digest for row in client.list_examples(head)}
    new = [NewExample(item) for item in inputs if digest_of(item) not in known]
    return failures_of(upload(client, out, head, new), new) if new else []


def _labels(client: Client, head: str) -> list[str]:
    """Returns the labels to offer: those of the active version, else those that examples have."""
    labels = client.get_head(head).labels
    if labels:
        return list(labels)
    given = {row.label for row in client.list_examples(head)} - {None}
    return sorted(filter(None, given))


def _conclude(
    client: Client,
    out: Output,
    head: str,
    session: _LabellingSession,
    strategy: str,
    version: int | None,
    failures: Sequence[tuple[str, RowFailure]],
) -> None:
    report = client.report(head, version) if version else None
    words = f"labelled {len(session.labelled)}, skipped {session.skipped}"
    if report:
        known = f", estimated accuracy {accuracy(report.estimate)}" if report.estimate else ""
        words += f"\ntrained version {report.version}{known}"
    document = {
        "head": head,
        "strategy": strategy,
        "labelled": session.labelled,
        "skipped": session.skipped,
        "failures": named_failures(failures),
        "version": version,
        "report": report,
        "notices": out.noticed,
    }
    out.result(document, words)
