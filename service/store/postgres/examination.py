"""Looks at a PostgreSQL database before anything in it is changed."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from service.errors import StartupError, StoreMissing
from service.logs import get_logger
from service.store import schema
from service.store.data_directory import FILE, store_signs
from service.store.upgrade import known_revisions, newest_revision

OLDEST = 140_000
"""The oldest release that is taken, as PostgreSQL numbers it: 14.0."""

log = get_logger(__name__)


def examine(engine: Engine, data_dir: Path, *, new_store: bool = False) -> bool:
    """Returns if a server can work with this database, or make a store in it.

    Args:
        new_store: an empty store is meant, although files of an earlier one lie in `data_dir`.

    Returns:
        Whether its schema is this release's already.

    Raises:
        StartupError: it is too old, a standby, not in UTF-8, damaged, or of a later release.
        StoreMissing: it is empty, although files of a store lie in `data_dir`.
        sqlalchemy.exc.SQLAlchemyError: it cannot be read.
    """
    with engine.connect() as connection:
        _check_server(connection)
        found = _revisions(connection)
        if found is None:
            _check_empty(connection, data_dir, new_store=new_store)
            return False
        newest, shown = newest_revision(), " and ".join(sorted(found)) or "none"
        if not found <= known_revisions():
            raise StartupError(
                f"store: it has schema {shown}, this release knows them up to {newest}; run the "
                "release that wrote it, or go back to a backup",
                field="store",
                limit=newest,
                value=shown,
            )
        if found != {newest}:
            return False
        columns = columns_of(connection)
    for what in schema.lacking(lambda table: columns.get(table, set())):
        raise StartupError(f"store: it is damaged: {what} is not there", field="store")
    return True


def columns_of(connection: Connection) -> dict[str, set[str]]:
    """Returns the names of the columns of each table."""
    found = inspect(connection).get_multi_columns()
    return {name: {column["name"] for column in of} for (_, name), of in found.items()}


def _check_server(connection: Connection) -> None:
    version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    if version < OLDEST:
        raise StartupError.at(
            "store", "PostgreSQL must be {limit} or newer, is {value}", OLDEST // 10_000, version
        )
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise StartupError.at("store", "its encoding must be {limit}, is {value}", "UTF8", encoding)
    if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
        raise StartupError.at("store", "it is a standby, which takes no changes")
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        if connection.exec_driver_sql(f"SHOW {name}").scalar_one() == "off":
            log.warning("PostgreSQL may lose in a crash what is acknowledged", off=name)


def _revisions(connection: Connection) -> set[str] | None:
    there = connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar_one()
    if there is None:
        return None
    rows = connection.exec_driver_sql("SELECT version_num FROM alembic_version")
    return set(rows.scalars())


def _check_empty(connection: Connection, data_dir: Path, *, new_store: bool) -> None:
    ours = set(schema.metadata.tables) & set(inspect(connection).get_table_names())
    if ours:
        raise StartupError(
            f"store: its tables are of no known release ({', '.join(sorted(ours))})",
            field="store",
        )
    left = store_signs(data_dir)
    if left and not new_store:
        hint = (
            "bring it over with `trunkline store copy`" if FILE in left else "go back to a backup"
        )
        raise StoreMissing(
            f"store: it is empty, although files of a store lie in {data_dir} "
            f"({', '.join(left)}); {hint}, or say --new-store to begin with an empty store",
            field="store",
            limit="a store beside its files",
            value=data_dir,
        )
