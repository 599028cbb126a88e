"""Where a store is that is checked: in a data directory, or in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from sqlalchemy import URL, Connection

from service.check.read_only import open_read_only
from service.errors import StartupError

Place = Path | URL
"""A data directory, or the address of a PostgreSQL database."""


def shown(place: Place) -> str:
    """Returns the place without a password."""
    return str(place) if isinstance(place, Path) else place.render_as_string(hide_password=True)


@contextmanager
def open_place(place: Place, password_file: Path | None) -> Iterator[Connection]:
    """Opens a store, whether a server has it or not, without changing anything.

    Raises:
        StartupError: there is none, or it cannot be read.
    """
    if isinstance(place, Path):
        with open_read_only(place) as connection:
            yield connection
        return
    from service.store.postgres.engines import open_engine  # a file needs no psycopg
    from service.store.postgres.failures import words_of

    engine = open_engine(place, password_file)
    reading = engine.execution_options(isolation_level="AUTOCOMMIT", postgresql_readonly=True)
    try:
        with reading.connect() as connection:
            yield connection
    except sqlalchemy.exc.OperationalError as error:
        raise StartupError(f"store: {shown(place)} cannot be read: {words_of(error)}") from error
    finally:
        engine.dispose()
