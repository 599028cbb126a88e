"""Stores as earlier releases made them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from service.store.upgrade import MIGRATIONS


@contextmanager
def store_of(revision: str, data_dir: Path) -> Iterator[Connection]:
    """Makes a store with the tables of a revision; the block puts rows into it."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = sqlalchemy.create_engine(f"sqlite:///{data_dir / 'trunkline.db'}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        yield connection
    engine.dispose()
