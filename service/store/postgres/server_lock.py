"""A lock that a connection to PostgreSQL holds as long as it lives: shared by servers, or alone."""

from __future__ import annotations

import threading
from contextlib import suppress

import sqlalchemy
from sqlalchemy import Connection, Engine

from service.errors import DataDirectoryLocked
from service.store.postgres.failures import as_failure, away, code_of

NUMBER = int.from_bytes(b"trunklin", "big")
"""Of the advisory lock of a store; PostgreSQL counts them within each database."""


class ServerLock:
    """Keeps a store for servers, or from them; its methods may be called from any thread.

    Args:
        engine: of its connections the lock keeps one.
        alone: whether no server may have the store meanwhile, instead of any number.
    """

    def __init__(self, engine: Engine, *, alone: bool = False) -> None:
        self._kind = "" if alone else "_shared"
        self._words = "a server" if alone else "who copies it, or brings it to another schema"
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._lock = threading.RLock()
        self._taking = False
        self._connection: Connection | None = None
        self._process = 0

    def take(self, seconds: float = 0.0) -> None:
        """Takes the lock.

        Args:
            seconds: to wait for whoever has it.

        Raises:
            DataDirectoryLocked: it is taken.
            Unavailable: PostgreSQL cannot be reached.
        """
        with self._lock:
            try:
                taken = self._try(seconds)
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise as_failure(error, "read") from error
        if not taken:
            raise DataDirectoryLocked.at(
                "store", "{value} is in use by {limit}", self._words, self._shown
            )

    def keep(self) -> None:
        """Takes the lock again if its connection was lost.

        Raises:
            Unavailable: it is taken, or PostgreSQL cannot be reached.
        """
        with self._lock:
            if self._taking or self._holds():
                return
            try:
                if not self._try():
                    raise away(f"it is in use by {self._words}")
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

    def _try(self, seconds: float = 0.0) -> bool:
        self._taking = True
        try:
            return self._try_once(seconds)
        finally:
            self._taking = False

    def _try_once(self, seconds: float) -> bool:
        self._drop()
        connection = self._connection = self._engine.connect()
        if self._process:  # PostgreSQL may not have noticed yet that this server lost it
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_locks WHERE locktype = 'advisory' "
                "AND pid = %s AND (classid::bigint << 32) | objid::bigint = %s",
                (self._process, NUMBER),
            )
        if not self._lock_now(connection, seconds):
            self._drop()
            return False
        self._process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        return True

    def _lock_now(self, connection: Connection, seconds: float) -> bool:
        if not seconds:
            tried = f"SELECT pg_try_advisory_lock{self._kind}(%s)"
            return bool(connection.exec_driver_sql(tried, (NUMBER,)).scalar())
        limit = f"{round(1000 * seconds)}ms"
        connection.exec_driver_sql("SELECT set_config('lock_timeout', %s, false)", (limit,))
        try:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock{self._kind}(%s)", (NUMBER,))
        except sqlalchemy.exc.OperationalError as error:
            if code_of(error) != "55P03":  # it was not to be had in its time
                raise
            return False
        return True

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(sqlalchemy.exc.SQLAlchemyError):
                self._connection.invalidate()  # closed, not given back: that frees the lock
                self._connection.close()
            self._connection = None
