"""The database itself: its pages, its references, its schema."""

from __future__ import annotations

from collections.abc import Iterator

from alembic.migration import MigrationContext
from sqlalchemy import text

from service.check.findings import RESTORE, Finding, Store
from service.store import schema
from service.store.database import migration_script


def integrity(store: Store) -> Iterator[Finding]:
    """Has SQLite read every page, table by table, and follow every reference."""
    names = store.connection.scalars(
        text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ).all()
    for done, name in enumerate(names):
        store.advance(done, len(names))
        quoted = '"' + str(name).replace('"', '""') + '"'
        for row in store.connection.exec_driver_sql(f"PRAGMA integrity_check({quoted})").all():
            if row[0] != "ok":
                yield Finding(f"table {name}: {row[0]}", RESTORE)
    for row in store.connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        table, number, parent = row[:3]
        yield Finding(
            f"row {number} of {table} refers to one of {parent} that is not there", RESTORE
        )


def revision(store: Store) -> Iterator[Finding]:
    """Compares the schema with the one of this release."""
    heads = MigrationContext.configure(store.connection).get_current_heads()
    found = " and ".join(sorted(heads)) or "of no revision"
    script = migration_script()
    newest = script.get_current_head()
    if found == newest:
        yield from _lacking(store)
        return
    if found in {known.revision for known in script.walk_revisions()}:
        yield Finding(
            f"the schema is {found}, this release's is {newest}: its tables were not looked at",
            "start this release's server once, which brings them up to date, and check again",
        )
    else:
        yield Finding(
            f"the schema is {found}, this release knows them up to {newest}: its tables were not "
            "looked at",
            "check with the release that wrote it" if len(heads) == 1 else RESTORE,
        )


def _lacking(store: Store) -> Iterator[Finding]:
    """Finds tables and columns that the revision has, and the store has not."""
    for table in schema.metadata.sorted_tables:
        there = {row[1] for row in store.connection.exec_driver_sql(_columns(table.name)).all()}
        for name in [column.name for column in table.columns if column.name not in there]:
            what = f"column {name} of table {table.name}" if there else f"table {table.name}"
            yield Finding(f"{what} is not there: no table was looked at", RESTORE)
            if not there:
                break


def _columns(table: str) -> str:
    return f"PRAGMA table_info({table})"
