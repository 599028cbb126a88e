"""Brings a store's schema to the newest revision."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

MIGRATING = int.from_bytes(b"migrate", "big")
"""Number of PostgreSQL's advisory lock."""
MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> dict[str, int]:
    """Brings the schema to the newest revision, in one transaction.

    Returns:
        By the names of heads, how many stored labels became one with another when labels were
        normalised, if that was done now.

    Raises:
        sqlalchemy.exc.SQLAlchemyError, ValueError, LookupError, TypeError: the store, or what is
            stored, is not as a revision left it, or there is no room.
    """
    config = _migrations()
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # as long as it takes, one server at a time
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATING,))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    joined: dict[str, int] = config.attributes.get("joined_labels", {})
    return joined


def migration_script() -> ScriptDirectory:
    """Returns the revisions of the schema that this release knows."""
    return ScriptDirectory.from_config(_migrations())


@cache
def newest_revision() -> str:
    """Returns the revision that this release works on."""
    newest = migration_script().get_current_head()
    assert newest is not None
    return newest


@cache
def known_revisions() -> frozenset[str]:
    """Returns the revisions that this release can bring to the newest."""
    return frozenset(known.revision for known in migration_script().walk_revisions())


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
