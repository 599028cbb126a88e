"""One server at a time: a lock that a connection to PostgreSQL holds as long as it lives."""

from __future__ import annotations

import threading
from contextlib import suppress

import sqlalchemy
from sqlalchemy import Connection, Engine

from service.errors import DataDirectoryLocked
from service.store.postgres.failures import as_failure, away

NUMBER = int.from_bytes(b"trunklin", "big")
"""Of the advisory lock of a store; PostgreSQL counts them within each database."""


class ServerLock:
    """Keeps other servers from a store; its methods may be called from any thread.

    Args:
        engine: of its connections the lock keeps one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._lock = threading.RLock()
        self._taking = False
        self._connection: Connection | None = None
        self._process = 0

    def take(self) -> None:
        """Takes the lock.

        Raises:
            DataDirectoryLocked: another server has it.
            Unavailable: PostgreSQL cannot be reached.
        """
        with self._lock:
            try:
                taken = self._try()
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise as_failure(error, "read") from error
        if not taken:
            raise DataDirectoryLocked.at(
                "store", "{value} is in use by another server", "one server", self._shown
            )

    def keep(self) -> None:
        """Takes the lock again if its connection was lost.

        Raises:
            Unavailable: another server has it, or PostgreSQL cannot be reached.
        """
        with self._lock:
            if self._taking or self._holds():
                return
            try:
                if not self._try():
                    raise away("another server has taken it over")
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise as_failure(error, "read") from error

    def close(self) -> None:
        """Lets the store go, at once: PostgreSQL takes a while to notice a connection's end."""
        with self._lock:
            if self._connection is not None:
                with suppress(sqlalchemy.exc.SQLAlchemyError):
                    self._connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
            self._drop()

    @property
    def _shown(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    def _holds(self) -> bool:
        try:
            return self._connection is not None and bool(
                self._connection.exec_driver_sql("SELECT true").scalar()
            )
        except sqlalchemy.exc.SQLAlchemyError:
            return False

    def _try(self) -> bool:
        self._taking = True
        try:
            return self._try_once()
        finally:
            self._taking = False

    def _try_once(self) -> bool:
        self._drop()
        connection = self._connection = self._engine.connect()
        if self._process:  # PostgreSQL may not have noticed yet that this server lost it
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_locks WHERE locktype = 'advisory' "
                "AND pid = %s AND (classid::bigint << 32) | objid::bigint = %s",
                (self._process, NUMBER),
            )
        taken = connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (NUMBER,)).scalar()
        if not taken:
            self._drop()
            return False
        self._process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        return True

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(sqlalchemy.exc.SQLAlchemyError):
                self._connection.invalidate()  # closed, not given back: that frees the lock
                self._connection.close()
            self._connection = None
