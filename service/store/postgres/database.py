"""Transactions on PostgreSQL, off the event loop.

Each write is a serializable transaction on one of a few connections, and is run again when it has
lost against another one: so functions that were written for one writer keep their guarantees. A
write is acknowledged after its commit, and none is run again whose commit may have been one.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Connection, Engine, event

from service.errors import ServiceError, StartupError, StoreFailed, Unavailable
from service.logs import get_logger
from service.store.change_feed import take_turn
from service.store.changes import Changed
from service.store.data_directory import check_entries, lock_directory, make_folder
from service.store.database import Database
from service.store.postgres import failures
from service.store.postgres.engines import APPLICATION, open_engine
from service.store.postgres.examination import examine
from service.store.postgres.link import Link
from service.store.postgres.server_lock import ServerLock
from service.store.stalls import StallWatch
from service.store.upgrade import migrate

P = ParamSpec("P")
R = TypeVar("R")

RETRY_SECONDS = 10.0
"""Time within which a write that loses against others is begun again."""
LOST_TRIES = 2
LOSING_TRIES = 3
"""Tries after which a write that lost against others goes before theirs."""
STALL_SECONDS = 30.0
"""Time without the end of a statement, on any connection, after which PostgreSQL does not go on."""
LONGEST_PAUSE = 0.2
START_SECONDS = 5.0
"""Time that a server which starts waits for one that brings the store to its schema."""

log = get_logger(__name__)


class PostgresDatabase(Database):
    """The store in a PostgreSQL database, which servers share.

    Args:
        data_dir: for what is no record; is made if it is missing.
        password_file: has the password in its first line; None for what libpq finds by itself.
        connections: at most, at least 2: half of them, rounded up, are for reads. One more holds
            the lock, and two are the link's.
        new_store: begin with an empty store, although files of an earlier one lie there.

    Raises:
        StartupError: the database cannot be used, or brought to the newest schema, or another
            server has the folder.
    """

    def __init__(
        self,
        data_dir: Path,
        url: URL,
        password_file: Path | None = None,
        *,
        connections: int = 2,
        new_store: bool = False,
    ) -> None:
        super().__init__()
        self._shown = url.render_as_string(hide_password=True)
        self._address = url, password_file
        writers = connections // 2
        readers = connections - writers
        make_folder(data_dir)
        check_entries(data_dir)
        self._folder_lock = lock_directory(data_dir)
        self._engine = open_engine(url, password_file, connections=connections + 1)
        self._server_lock = ServerLock(self._engine)
        # Writes take effect as if each ran alone. Reads see what was committed when they began, and
        # are in nobody's way.
        self._write_engine = self._engine.execution_options(isolation_level="SERIALIZABLE")
        self._read_engine = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        try:
            self._open(data_dir, new_store=new_store)
        except BaseException:
            self._dispose()
            raise
        words = "it does not go on; its connections wait for it"
        self._reads, self._writes = (
            StallWatch(self._notify, lambda: failures.away(words), STALL_SECONDS) for _ in range(2)
        )
        _follow(self._read_engine, self._reads)
        _follow(self._write_engine, self._writes)
        event.listen(self._engine, "connect", self._keep_lock)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="store-reader")
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="store-writer")
        self._again, self._closed = threading.Lock(), threading.Event()
        self._away = False

    @property
    def full(self) -> bool:
        return False

    @property
    def reserved_bytes(self) -> int:
        return 0

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self._reads.admit()
        self._check_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._readers, lambda: self._read_now(lambda c: function(c, *args, **kwargs))
        )

    async def checkpoint(self) -> None:
        """Returns: what is deleted leaves PostgreSQL's files by VACUUM, which it does by itself."""

    def open_link(self) -> Link:
        """Opens connections for what servers tell one another; whoever asks closes them."""
        return Link(*self._address)

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        self._writers.shutdown()
        self._readers.shutdown()
        self._dispose()

    def _submit(
        self, function: Callable[[Connection], tuple[R, Changed]]
    ) -> Future[tuple[R, Changed]]:
        self._writes.admit()
        self._check_open()
        try:
            return self._writers.submit(self._write_now, function)
        except RuntimeError as error:  # it was closed meanwhile
            raise Unavailable("the server is shutting down", retry_after=1.0) from error

    def _keep_lock(self, connection: Any, _record: Any) -> None:
        """Sees, whenever a connection is new, that the store is still this server's."""
        try:
            self._server_lock.keep()
        except BaseException:
            connection.close()
            raise

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise Unavailable("the server is shutting down", retry_after=1.0)

    def _open(self, data_dir: Path, *, new_store: bool) -> None:
        try:
            self._server_lock.take(START_SECONDS)
            if not examine(self._read_engine, data_dir, new_store=new_store):
                self._migrate()
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise self._refusal(failures.words_of(error)) from error
        except Unavailable as error:
            raise self._refusal(failures.words_of(error.__cause__ or error)) from error

    def _migrate(self) -> None:
        """Brings the schema to the newest while no server of an earlier release uses it.

        Raises:
            DataDirectoryLocked: one does.
        """
        self._server_lock.close()
        alone = ServerLock(self._engine, alone=True)
        try:
            alone.take(START_SECONDS)
            self.joined_labels = migrate(self._write_engine)
        finally:
            alone.close()
        self._server_lock.take(START_SECONDS)

    def _refusal(self, words: str) -> StartupError:
        return StartupError(
            f"store: {self._shown} cannot be used: {words}", field="store", value=self._shown
        )

    def _read_now(self, function: Callable[[Connection], R]) -> R:
        with self._reads.working():
            for left in reversed(range(LOST_TRIES)):
                try:
                    with self._read_engine.begin() as connection:
                        result = function(connection)
                    self._note_answer(None)
                    return result
                except sqlalchemy.exc.SQLAlchemyError as error:
                    if not (failures.is_away(error) and left):
                        raise self._failure(error, "read") from error
        raise AssertionError("unreachable")

    def _write_now(self, function: Callable[[Connection], tuple[R, Changed]]) -> tuple[R, Changed]:
        """Runs a write until it is committed, or fails for another reason than others' writes."""
        end = time.monotonic() + RETRY_SECONDS
        tries = lost = 0
        with self._writes.working():
            while True:
                # Those that run again do so one after the other, so that they do not lose again
                # against one another.
                with self._again if tries else nullcontext():
                    try:
                        result = self._transact(function, first=tries >= LOSING_TRIES)
                    except sqlalchemy.exc.SQLAlchemyError as error:
                        away = failures.is_away(error)
                        lost += away
                        again = failures.is_conflict(error, tries) or (away and lost < LOST_TRIES)
                        if not again or time.monotonic() > end:
                            raise self._failure(error, "written") from error
                        pause = random.uniform(0, min(LONGEST_PAUSE, 0.002 * 2**tries))
                        self._closed.wait(pause)
                    else:
                        self._note_answer(None)
                        return result
                tries += 1

    def _transact(
        self, function: Callable[[Connection], tuple[R, Changed]], *, first: bool
    ) -> tuple[R, Changed]:
        """Runs a write once; where others share the store, it may be let go before theirs."""
        with self._write_engine.connect() as connection:
            transaction = connection.begin()
            try:
                if first and self._feed is not None:
                    take_turn(connection)
                result = function(connection)
            except BaseException:
                _roll_back(transaction)
                raise
            process = _check_sound(connection)
            try:
                transaction.commit()
            except sqlalchemy.exc.SQLAlchemyError as error:
                if not failures.is_outcome_unknown(error):
                    raise
                lost = error
                connection.invalidate()
            else:
                return result
        self._note_answer(lost)
        self._end_session(process)
        raise failures.unknown_outcome(lost, result[1]) from lost

    def _end_session(self, process: int) -> None:
        """Has a commit that was cut off be over, or never be one, before anybody is told of it."""
        autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            with autocommit.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid = %s "
                    "AND datname = current_database() AND application_name = %s",
                    (process, APPLICATION),
                )
        except (
            sqlalchemy.exc.SQLAlchemyError,
            ServiceError,
        ) as error:  # its sessions are, too
            log.debug("the store is away", reason=failures.words_of(error))

    def _failure(self, error: BaseException, what: str) -> ServiceError:
        self._note_answer(error)
        if failures.code_of(error) == "25006":
            self._engine.dispose()  # another server of PostgreSQL takes the changes now
        return failures.as_failure(error, what)

    def _note_answer(self, error: BaseException | None) -> None:
        """Logs once that the store is away, and once that it is back."""
        away = error is not None and failures.is_away(error)
        if error is not None and away and not self._away:
            log.error("the store is away", store=self._shown, reason=failures.words_of(error))
        elif error is None and self._away:
            log.info("the store is back", store=self._shown)
        if away or error is None:
            self._away = away

    def _notify(self) -> None:
        stalls = self._reads.stalled or self._writes.stalled
        log.error("the store stalls" if stalls else "the store goes on", store=self._shown)

    def _dispose(self) -> None:
        self._server_lock.close()
        self._engine.dispose()
        os.close(self._folder_lock)


def _follow(engine: Engine, watch: StallWatch) -> None:
    """Takes each statement for a step."""
    for name in ("before_cursor_execute", "after_cursor_execute"):
        event.listen(engine, name, lambda *_: watch.step())


def _roll_back(transaction: sqlalchemy.RootTransaction) -> None:
    try:
        transaction.rollback()
    except sqlalchemy.exc.SQLAlchemyError as error:  # it is lost, which is as good
        log.debug("a connection was lost", reason=failures.words_of(error))


def _check_sound(connection: Connection) -> int:
    """Makes sure that a commit will be one: PostgreSQL answers that of a failed one without error.

    Returns:
        The number of PostgreSQL's process behind the connection.

    Raises:
        StoreFailed: a statement has failed, and the function went on.
    """
    state: Any = connection.connection.dbapi_connection.info  # type: ignore[union-attr]
    if state.transaction_status == TransactionStatus.INERROR:
        raise StoreFailed("the store could not be written")
    return int(state.backend_pid)
