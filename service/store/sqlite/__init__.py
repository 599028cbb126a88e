"""The store in one file of a data directory, on SQLite."""

from service.store.sqlite.database import SqliteDatabase

__all__ = ["SqliteDatabase"]
