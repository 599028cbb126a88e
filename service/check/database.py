"""The database itself: its pages, its references, its schema."""

from __future__ import annotations

from collections.abc import Iterator

from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError

from service.check.findings import RESTORE, Finding, Store
from service.store import schema
from service.store.data_directory import JOURNAL
from service.store.sqlite.examination import journal_is_sound
from service.store.upgrade import known_revisions, newest_revision

_NO_FAULTS = ("ok", "*** in database main ***")
_COPY = (
    "stop the server and put a copy in the store's place, as the tables can be read: "
    "sqlite3 trunkline.db \"VACUUM INTO 'copy.db'\""
)


def integrity(store: Store) -> Iterator[Finding]:
    """Has SQLite read every page, table by table, then the free ones, and follow every reference.

    A check of a table looks neither at the list of free pages, which the one of the schema does,
    nor whether a page is used twice or never. Only the check of all at once does; it says nothing
    more where tables are damaged.
    """
    names = store.connection.scalars(
        text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ).all()
    sound = True
    for done, name in enumerate(names):
        store.advance(done, len(names) + 2)
        for words in _faults(store, f"integrity_check({_quoted(name)})"):
            sound = False
            yield Finding(f"table {name}: {words}", RESTORE)
    last = "quick_check" if sound else "integrity_check(sqlite_master)"
    store.advance(len(names), len(names) + 2)
    for words in _faults(store, last):
        yield Finding(f"its pages: {words}", _COPY if sound else RESTORE)
    store.advance(len(names) + 1, len(names) + 2)
    for row in store.connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        table, number, parent = row[:3]
        yield Finding(
            f"row {number} of {table} refers to one of {parent} that is not there", RESTORE
        )


def _faults(store: Store, pragma: str) -> Iterator[str]:
    """Yields what SQLite finds, a hundred faults at most; some releases say many in a row."""
    try:
        rows = store.connection.exec_driver_sql(f"PRAGMA {pragma}").all()
    except DatabaseError as error:  # it has met a page that it cannot go on from
        yield str(error.orig)
        return
    for row in rows:
        yield from (line for line in str(row[0]).splitlines() if line not in _NO_FAULTS)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def journal(store: Store) -> Iterator[Finding]:
    """Finds a journal that SQLite would take for an empty one."""
    assert store.folder is not None
    path = store.folder / JOURNAL
    if path.exists() and not journal_is_sound(path):
        yield Finding(
            f"{JOURNAL} does not begin as a journal: what was stored last, and lies in it, cannot "
            "be read; the other checks look at what was stored before",
            "go back to a backup, or move that file away and go on with what was stored before",
        )


def revision(store: Store) -> Iterator[Finding]:
    """Compares the schema with the one of this release."""
    heads = MigrationContext.configure(store.connection).get_current_heads()
    found = " and ".join(sorted(heads)) or "of no revision"
    newest = newest_revision()
    if found == newest:
        yield from _lacking(store)
        return
    if found in known_revisions():
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
    for what in schema.lacking(lambda name: _columns(store, name)):
        yield Finding(f"{what} is not there: no table was looked at", RESTORE)


def _columns(store: Store, table: str) -> set[str]:
    if store.folder is None:
        inspector = inspect(store.connection)
        if not inspector.has_table(table):
            return set()
        return {column["name"] for column in inspector.get_columns(table)}
    return {row[1] for row in store.connection.exec_driver_sql(schema.columns_of(table)).all()}
