"""Whether another connection has changed the store: a number that costs some 3 us to look at."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from service.store.data_directory import FILE
from service.store.sqlite import engines


class DataVersion:
    """A connection of its own, never in a transaction: within one the number would stand still.

    The number rises with commits of others, of this process, too, and with some checkpoints. It
    means nothing to another connection (https://www.sqlite.org/pragma.html#pragma_data_version).
    """

    def __init__(self, data_dir: Path) -> None:
        self._connection = sqlite3.connect(data_dir / FILE, isolation_level=None)
        self._cursor = self._connection.cursor()

    def look(self) -> int:
        """Returns the number.

        Raises:
            StoreFailed: the store cannot be read.
        """
        try:
            found: int = self._cursor.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise engines.as_failure(error, "read") from error
        return found

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()
