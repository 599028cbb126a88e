"""A row of a table, or a place in a folder, that could not be read."""

from dataclasses import dataclass
from typing import Never

from trunkline.errors import DatasetError


@dataclass(frozen=True)
class Unreadable:
    """Stands in the place of an input that could not be read, so that it costs its own row alone.

    `where` is file and line of a table's row, or a path; `problem` says what is wrong there.
    Whatever asks for the input gets a `DatasetError`.
    """

    where: str
    problem: str

    @property
    def nbytes(self) -> int:
        """Zero: nothing of it is in memory."""
        return 0

    def load(self) -> Never:
        """Raises `DatasetError`."""
        raise DatasetError(self.problem, field="input", value=self.where)

    digest = message = load
