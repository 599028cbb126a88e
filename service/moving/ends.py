"""The two ends of a copy: stores that nobody else uses meanwhile."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, exists, select

from service.check.places import Place, shown
from service.check.read_only import open_read_only
from service.errors import PreconditionFailed, StartupError
from service.store import schema
from service.store.data_directory import FILE, lock_directory
from service.store.postgres import PostgresDatabase
from service.store.postgres.engines import open_engine
from service.store.postgres.failures import words_of
from service.store.postgres.server_lock import ServerLock
from service.store.sqlite import SqliteDatabase, engines
from service.store.upgrade import newest_revision


@contextmanager
def open_source(place: Place, password_file: Path | None) -> Iterator[Connection]:
    """Opens the store that is copied, in one read transaction, and keeps servers from it.

    Raises:
        StartupError: there is none, it cannot be read, a server has it, or its schema is another
            release's.
    """
    opened = (
        _open_folder(place) if isinstance(place, Path) else _open_database(place, password_file)
    )
    with opened as connection:
        _check_schema(connection, place)
        yield connection


@contextmanager
def open_target(place: Place, password_file: Path | None) -> Iterator[Connection]:
    """Makes the store that is copied to, or opens one without a row, and keeps servers from it.

    All is written in one transaction: what is interrupted leaves it empty.

    Raises:
        StartupError: it cannot be used, or a server has it.
        PreconditionFailed: there are rows in it.
    """
    make_store(place, password_file, new=True)
    with _locked(place, password_file) as engine, engine.begin() as connection:
        _take_time(connection)
        for table in schema.metadata.sorted_tables:
            if connection.scalar(select(exists(select(table)))):
                raise PreconditionFailed.at("to", "{value} is not empty", "an empty store", place)
        yield connection


def make_store(place: Place, password_file: Path | None, *, new: bool = False) -> None:
    """Makes a store without a row where there is none, and brings one to this release's schema.

    Args:
        new: although files of an earlier one lie there.

    Raises:
        StartupError: it cannot be used, or a server has it.
    """
    if isinstance(place, Path):
        SqliteDatabase(place, new_store=new).close()
        return
    with tempfile.TemporaryDirectory() as unused:
        PostgresDatabase(Path(unused), place, password_file, new_store=True).close()


@contextmanager
def _open_folder(folder: Path) -> Iterator[Connection]:
    if not (folder / FILE).is_file():
        raise StartupError(f"from: there is no store in {folder}", field="from", value=folder)
    lock = lock_directory(folder)
    try:
        with open_read_only(folder) as connection:
            yield connection
    finally:
        os.close(lock)


@contextmanager
def _open_database(url: URL, password_file: Path | None) -> Iterator[Connection]:
    with _locked(url, password_file) as engine:
        reading = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        with reading.begin() as connection:
            _take_time(connection)
            yield connection


@contextmanager
def _locked(place: Place, password_file: Path | None) -> Iterator[Engine]:
    """Gives an engine on a store that has been made, and keeps servers from it."""
    if isinstance(place, Path):
        lock = lock_directory(place)
        engine = engines.open_engine(f"sqlite:///{place / FILE}", begin="BEGIN IMMEDIATE")
        try:
            yield engine
            engines.checkpoint(engine)
        finally:
            engine.dispose()
            os.close(lock)
        return
    engine = open_engine(place, password_file, connections=2)
    server_lock = ServerLock(engine, alone=True)
    try:
        server_lock.take()
        yield engine
    except sqlalchemy.exc.OperationalError as error:
        raise StartupError(f"store: {shown(place)} cannot be used: {words_of(error)}") from error
    finally:
        server_lock.close()
        engine.dispose()


def _take_time(connection: Connection) -> None:
    """Lets the transaction take as long as it does; one end waits for the other."""
    if connection.dialect.name == "postgresql":
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {name} = 0")


def _check_schema(connection: Connection, place: Place) -> None:
    try:
        rows = connection.exec_driver_sql("SELECT version_num FROM alembic_version")
        found = list(rows.scalars())
    except sqlalchemy.exc.DatabaseError:
        found = []
    if found != [newest_revision()]:
        raise StartupError(
            f"from: {shown(place)} has schema {' and '.join(found) or 'none'}, this release's is "
            f"{newest_revision()}; start this release's server on it once, and stop it",
            field="from",
            limit=newest_revision(),
        )
