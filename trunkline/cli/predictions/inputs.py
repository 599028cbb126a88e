"""What `trunkline predict` is given: files, folders, texts and standard input, in order."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from trunkline.cli.predictions.standard_input import PATHS, TEXTS, StandardInput
from trunkline.clients.client import Client
from trunkline.datasets import Columns, FileInput, Notes, count_inputs, read_inputs
from trunkline.errors import TrunklineError
from trunkline.rows.chunking import MAX_MESSAGE_ROWS
from trunkline.values.inputs import Text

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Given:
    """Paths, `-` for standard input at most once among them, and texts that come last.

    `kind` is that of the lines of standard input. `notes` learns what is left out.
    """

    client: Client
    head: str
    words: tuple[str, ...]
    texts: tuple[str, ...]
    columns: Columns
    kind: str | None
    notes: Notes

    @property
    def paths(self) -> list[Path]:
        """The files and folders."""
        return [Path(word) for word in self.words if word != STANDARD_INPUT]

    @property
    def is_typed(self) -> bool:
        """Whether a person types the lines of standard input."""
        return STANDARD_INPUT in self.words and sys.stdin.isatty()

    @cached_property
    def for_texts(self) -> bool:
        """Whether the head takes texts. Asks the server."""
        backbone = self.client.get_head(self.head).backbone
        return any(
            row.name == backbone and row.modality == "text" for row in self.client.backbones()
        )

    def parts(self) -> Iterator[list[FileInput]]:
        """Reads the inputs as they are asked for, in parts that a request has room for."""
        texts = map(Text, self.texts)
        if STANDARD_INPUT not in self.words:
            yield from _parts(chain(self._read(self.words), texts))
            return
        at = self.words.index(STANDARD_INPUT)
        before, after = self._read(self.words[:at]), self._read(self.words[at + 1 :])
        yield from _parts(before)
        yield from StandardInput(self.kind, self._kind, self.columns, self.notes).parts()
        yield from _parts(chain(after, texts))

    def count(self) -> int | None:
        """Counts the inputs; None if they would have to be read for it."""
        counts = [
            count_inputs(path, self.columns, texts=path.is_dir() and self.for_texts)
            for path in self.paths
        ]
        known = [count for count in counts if count is not None]
        if STANDARD_INPUT in self.words or len(known) < len(counts):
            return None
        return sum(known) + len(self.texts)

    def _read(self, words: Sequence[str]) -> Iterator[FileInput]:
        for word in words:
            path = Path(word)
            texts = path.is_dir() and self.for_texts
            yield from read_inputs(path, self.columns, self.notes, texts=texts)

    def _kind(self) -> str:
        return TEXTS if self.for_texts else PATHS


def _parts(inputs: Iterable[FileInput]) -> Iterator[list[FileInput]]:
    """Cuts inputs into parts. Where they end with an error, those before it come first."""
    part: list[FileInput] = []
    try:
        for item in inputs:
            part.append(item)
            if len(part) == MAX_MESSAGE_ROWS:
                yield part
                part = []
    except (TrunklineError, OSError):
        yield part
        raise
    yield part
