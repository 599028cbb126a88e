"""Labelled data at hand: read, checked and compared before anything is sent or made."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trunkline.cli.naming import digest_of, shown_name
from trunkline.datasets import Columns, FileInput, Notes, read_examples
from trunkline.datasets.labels import doubtful_labels
from trunkline.errors import DatasetError, InvalidArgument
from trunkline.values.examples import NewExample
from trunkline.values.inputs import Image, Text
from trunkline.values.notices import Notice, notices_of
from trunkline.values.unreadable import Unreadable


@dataclass(frozen=True)
class Data:
    """The examples of a folder or table; `overruled` are rows whose input a later one has, too."""

    path: Path
    examples: tuple[NewExample, ...]
    overruled: frozenset[int]
    notices: tuple[Notice, ...] = ()

    @property
    def pairs(self) -> list[tuple[FileInput, str]]:
        """Inputs with labels; that of an unreadable row is empty."""
        return [(_input(row), row.label or "") for row in self.examples]

    @property
    def labels(self) -> Counter[str]:
        """How many inputs each label has: one that occurs again has the last label."""
        return Counter(
            example.label
            for row, example in enumerate(self.examples)
            if example.label is not None and row not in self.overruled
        )

    @property
    def unreadable(self) -> list[Unreadable]:
        """Rows that cannot be read."""
        return [row.input for row in self.examples if isinstance(row.input, Unreadable)]


def read_data(path: Path, columns: Columns, *, test: bool = False, names: bool = False) -> Data:
    """Reads labelled examples, with notices of all that is left out, changed or doubtful.

    Of examples to `test` on, classes may have few. With `names` they have external ids. Raises
    `DatasetError` if none can be read.
    """
    notes = Notes()
    examples = tuple(read_examples(path, columns, notes, names=names))
    if not examples:
        said = "".join(f"; {notice.words}" for notice in notes.notices())
        raise DatasetError(f"{path}: no examples{said}")
    check_readable(path, [_input(row) for row in examples])
    repeats = repeated_inputs([_input(row) for row in examples])
    data = Data(path, examples, frozenset(row for rows in repeats for row in rows[:-1]))
    notices = [
        *notes.notices(),
        *_repeat_notices(examples, repeats),
        *_lost_classes(data),
        *(() if test else doubtful_labels(data.labels)),
    ]
    return replace(data, notices=tuple(notices))


def check_readable(path: Path, inputs: Sequence[FileInput]) -> None:
    """Raises `DatasetError` if there are no inputs, or none that can be read."""
    if not inputs:
        raise DatasetError(f"{path}: no inputs")
    wrong = [item for item in inputs if isinstance(item, Unreadable)]
    if len(wrong) == len(inputs):
        raise DatasetError(f"{path}: nothing in it can be read: {_unreadable_words(wrong)}")


def check_modality(*data: Data) -> None:
    """Raises `DatasetError` if there are both images and texts."""
    kinds = {type(row.input) for part in data for row in part.examples} - {Unreadable}
    if len(kinds) > 1:
        raise DatasetError("the examples are images and texts: a head takes one of them")


def check_classes(data: Data) -> None:
    """Raises `DatasetError` if there are fewer than two classes."""
    if len(data.labels) < 2:
        found = ", ".join(data.labels)
        wrong = f"; {_unreadable_words(data.unreadable)}" if data.unreadable else ""
        raise DatasetError(
            f"{data.path}: examples of two classes are needed at least, found: {found}{wrong}",
            field="label",
            limit="2",
            value=str(len(data.labels)),
        )


def unknown_labels(data: Data, test: Data) -> list[Notice]:
    """Returns a notice of classes that only the test set has: nothing in it can be right on them.

    A head may know them from before.
    """
    names = (label for label in test.labels if label not in data.labels)
    words = f"of {test.path} not in {data.path}"
    return notices_of("unknown_test_label", names, words, "class", "classes")


def repeated_inputs(inputs: Sequence[FileInput]) -> list[list[int]]:
    """Returns the rows, two or more each, that have the same input, in order.

    Only inputs of the same size can be the same: the others are not read for this.
    """
    by_size: dict[tuple[type, int], list[int]] = {}
    for row, item in enumerate(inputs):
        size = _size(item)
        if size is not None:
            by_size.setdefault((type(item), size), []).append(row)
    groups: dict[str | None, list[int]] = {}
    for rows in by_size.values():
        if len(rows) > 1:
            for row in rows:
                groups.setdefault(digest_of(inputs[row]), []).append(row)
    groups.pop(None, None)
    return sorted(rows for rows in groups.values() if len(rows) > 1)


def repeat_notice(inputs: Sequence[FileInput], repeats: Sequence[Sequence[int]]) -> list[Notice]:
    """Returns a notice of inputs that occur more than once, if there are any."""
    names = (
        f"{shown_name(inputs[row])} = {shown_name(inputs[rows[0]])}"
        if isinstance(inputs[row], Image)
        else shown_name(inputs[row])
        for rows in repeats
        for row in rows[1:]
    )
    return notices_of("row_repeated", names, "with an input that came before", "row")


def _repeat_notices(examples: Sequence[NewExample], repeats: Sequence[list[int]]) -> list[Notice]:
    """Says which inputs occur more than once, under one label or under several."""
    inputs = [_input(row) for row in examples]
    same: list[list[int]] = []
    names: list[str] = []
    for rows in repeats:
        labels = _changes(examples, rows)
        if len(labels) == 1:
            same.append(rows)
        else:
            names.append(f"{shown_name(inputs[rows[-1]])} ({', then '.join(labels)})")
    words = "under more than one label, of which the last wins"
    return repeat_notice(inputs, same) + notices_of("row_contradicted", names, words, "input")


def _lost_classes(data: Data) -> list[Notice]:
    given = dict.fromkeys(row.label for row in data.examples if row.label)
    names = (label for label in given if label not in data.labels)
    words = "left without an example, as every input comes again under another label"
    return notices_of("class_lost", names, words, "class", "classes")


def _unreadable_words(rows: Sequence[Unreadable]) -> str:
    first = f"{rows[0].where}: {rows[0].problem}"
    return first if len(rows) == 1 else f"{len(rows):,} rows failed; the first, {first}"


def _changes(examples: Sequence[NewExample], rows: Sequence[int]) -> list[str]:
    labels = [examples[row].label or "" for row in rows]
    return [label for at, label in enumerate(labels) if at == 0 or label != labels[at - 1]]


def _size(item: FileInput) -> int | None:
    """Returns the bytes of an input, without reading its file; None if it cannot be read."""
    if isinstance(item, Unreadable):
        return None
    try:
        return item.path.stat().st_size if isinstance(item, Image) and item.path else item.nbytes
    except (OSError, InvalidArgument):
        return None


def _input(example: NewExample) -> FileInput:
    item = example.input
    assert isinstance(item, Image | Text | Unreadable), "as it was read from a file"
    return item
