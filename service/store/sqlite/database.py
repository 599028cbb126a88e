"""Transactions on SQLite, off the event loop.

All writes go through one thread, which commits whatever has gathered while the last commit was
on its way to the disk: one fsync for many writers. A write is acknowledged after its commit.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy
from sqlalchemy import Connection

from service.errors import (
    ServiceError,
    StartupError,
    StoreFailed,
    StoreFull,
    Unavailable,
)
from service.logs import get_logger
from service.store.changes import Changed
from service.store.data_directory import (
    CLUSTER,
    FILE,
    RESERVE,
    lock_directory,
    make_folder,
    unreadable,
)
from service.store.database import Database
from service.store.sqlite import engines
from service.store.sqlite.examination import (
    damaged,
    drop_stale_journal,
    drop_unfinished_restore,
    examine,
)
from service.store.sqlite.reserve import MIB, NO_ROOM, Reserve
from service.store.sqlite.turns import Turns, TurnsOfProcesses
from service.store.stalls import StallWatch
from service.store.upgrade import migrate

P = ParamSpec("P")
R = TypeVar("R")

READER_THREADS = 4
MAX_GROUP = 256

_Job = tuple[Callable[[Connection], Any], Future[Any]]
_Outcome = tuple[Any, BaseException | None]

log = get_logger(__name__)


class SqliteDatabase(Database):
    """The store of one data directory, locked against a second server.

    Args:
        data_dir: is made if it is missing.
        new_store: begin with an empty store, although files of an earlier one lie there.
        reserve_bytes: room on the disk that is kept for deletions.
        lock: of the directory, held by the process that has prepared the store for several, of
            which this is one; None to lock and prepare it here.

    Attributes:
        reserve: the room that is kept, which knows whether the disk is full.

    Raises:
        StartupError: what `examine` raises, or the store cannot be opened, or brought to the newest
            schema.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        new_store: bool = False,
        reserve_bytes: int = MIB,
        lock: int | None = None,
    ) -> None:
        super().__init__()
        if lock is None:
            make_folder(data_dir)
            examine(data_dir, new_store=new_store)
        self._folder = data_dir
        self._lock = lock_directory(data_dir) if lock is None else os.dup(lock)
        url = f"sqlite:///{data_dir / FILE}"
        self._write_engine = engines.open_engine(url, begin="BEGIN IMMEDIATE")
        self._scarce_engine = engines.open_engine(url, begin="BEGIN IMMEDIATE", files=False)
        self._read_engine = engines.open_engine(url, begin="BEGIN")
        self._reads = StallWatch(self._notify)
        self._reads.follow(self._read_engine)
        self._writes = StallWatch(self._notify)
        self._writes.follow(self._write_engine)
        self._writes.follow(self._scarce_engine)
        # SQLite refuses a checkpoint at once while another runs, such as one that a commit brings.
        self._writing = Turns() if lock is None else TurnsOfProcesses(data_dir / CLUSTER)
        try:
            if lock is None:
                data_dir.chmod(0o700)  # other users of the machine are no tenants
                drop_stale_journal(data_dir)
                drop_unfinished_restore(data_dir)
            self.reserve = Reserve(data_dir / RESERVE, reserve_bytes)
            if lock is None:
                self.joined_labels = self._upgrade()
                self._empty_journal()  # the last server may have died before it could
            self.reserve.check()
        except BaseException as error:
            self._dispose()
            if isinstance(error, OSError):
                raise unreadable(data_dir, f"{error.strerror}") from error
            raise
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="store-reader")
        self._checkpointer = ThreadPoolExecutor(1, thread_name_prefix="store-checkpoint")
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._writer = threading.Thread(target=self._write_groups, name="store-writer")
        self._writer.start()

    @property
    def full(self) -> bool:
        return self.reserve.full

    @property
    def reserved_bytes(self) -> int:
        return self.reserve.nbytes

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self._reads.admit()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._readers, lambda: self._read_now(lambda c: function(c, *args, **kwargs))
        )

    async def checkpoint(self) -> None:
        """Empties the journal, so that no byte of what was deleted is left on disk."""
        self._writes.admit()
        await asyncio.get_running_loop().run_in_executor(self._checkpointer, self._checkpoint_now)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        while not self._queue.empty():
            late = self._queue.get()
            if late is not None:
                late[1].set_exception(Unavailable("the server is shutting down", retry_after=1.0))
        self._readers.shutdown()
        self._checkpointer.shutdown()
        self._dispose()

    def _submit(
        self, function: Callable[[Connection], tuple[R, Changed]]
    ) -> Future[tuple[R, Changed]]:
        self._writes.admit()
        if self._closed:
            raise Unavailable("the server is shutting down", retry_after=1.0)
        future: Future[tuple[R, Changed]] = Future()
        self._queue.put((function, future))
        return future

    def _read_now(self, function: Callable[[Connection], R]) -> R:
        try:
            with self._reads.working(), self._read_engine.begin() as connection:
                return function(connection)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise engines.as_failure(error, "read") from error

    def _checkpoint_now(self) -> None:
        with self._writes.working():
            try:
                engines.checkpoint(self._write_engine, self._writes.step, self._writing)
            except engines.SqliteError as error:
                if not engines.lacks_room(error):
                    raise engines.as_failure(error, "written") from error
                with self._writing:
                    self._checkpoint_with_reserve()

    def _checkpoint_with_reserve(self) -> None:
        try:
            with self.reserve.released():
                engines.checkpoint(self._write_engine, self._writes.step)
        except engines.SqliteError as error:
            raise self._failure(error) from error

    def _notify(self) -> None:
        self.on_stall(self._reads.stalled or self._writes.stalled)

    def _write_groups(self) -> None:
        while (job := self._queue.get()) is not None:
            group = [job]
            last = False
            while len(group) < MAX_GROUP and not last and not self._queue.empty():
                following = self._queue.get()
                last = following is None
                if following is not None:
                    group.append(following)
            with self._writes.working():
                self._commit(group)
            if last:
                return

    def _commit(self, group: list[_Job]) -> None:
        jobs = [job for job in group if job[1].set_running_or_notify_cancel()]
        functions = [function for function, _ in jobs]
        with self._writing:
            outcomes = self._run_group(functions)
        for (_, future), (result, raised) in zip(jobs, outcomes, strict=True):
            if raised is None:
                future.set_result(result)
            else:
                future.set_exception(raised)

    def _run_group(self, functions: Sequence[Callable[[Connection], Any]]) -> list[_Outcome]:
        """Runs all in one transaction; where there is no room for that, each in one of its own."""
        for full in (False, True):
            try:
                return self._run_together(functions)
            except Exception as error:
                if not engines.lacks_room(error):
                    failure = engines.as_failure(error, "written")
                    return [(None, failure) for _ in functions]
                if not full:
                    self._move_journal()  # that may be all the room that is needed
        return self._run_with_reserve(functions)

    def _run_together(self, functions: Sequence[Callable[[Connection], Any]]) -> list[_Outcome]:
        with self._write_engine.begin() as connection:
            return [_run_in_savepoint(connection, function) for function in functions]

    def _run_with_reserve(self, functions: Sequence[Callable[[Connection], Any]]) -> list[_Outcome]:
        """Gives the reserve to the journal of those that do not make the store grow."""
        outcomes = []
        for function in functions:
            with self.reserve.released():
                outcomes.append(self._run_alone(function))
                self._move_journal()
        return outcomes

    def _run_alone(self, function: Callable[[Connection], Any]) -> _Outcome:
        try:
            with self._scarce_engine.begin() as connection:
                before = _size(connection)
                result = function(connection)
                after = _size(connection)
                if all(new > old for new, old in zip(after, before, strict=True)):
                    raise _store_full()
                return result, None
        except engines.SqliteError as error:
            return None, self._failure(error)
        except Exception as error:
            return None, error

    def _move_journal(self) -> None:
        """Empties the journal, so that the reserve finds its room free again."""
        try:
            engines.checkpoint(self._write_engine)
        except (*engines.SqliteError, Unavailable) as error:
            log.warning("the journal could not be emptied", reason=engines.words_of(error))

    def _failure(self, error: BaseException) -> ServiceError:
        """Converts an error of SQLite that came although the reserve was given to the journal."""
        failure: ServiceError = engines.as_failure(error, "written")
        if engines.lacks_room(error):
            reason = self.reserve.check()
            if reason is None or reason.errno in NO_ROOM:
                failure = _store_full()
            else:
                failure = StoreFailed(f"the store could not be written: {reason.strerror}")
            failure.__cause__ = error
        return failure

    def _upgrade(self) -> dict[str, int]:
        try:
            return migrate(self._write_engine)
        except Exception as error:  # what reads damaged values raises nearly anything
            if not engines.lacks_room(error):
                raise self._refusal(error) from error
        try:
            with self.reserve.released():
                return migrate(self._write_engine)
        except Exception as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> StartupError:
        words = engines.words_of(error)
        if engines.lacks_room(error):
            return unreadable(self._folder, f"there is no room on its disk to open it ({words})")
        if isinstance(error, sqlalchemy.exc.OperationalError) and not engines.is_damage(error):
            return unreadable(self._folder, words)
        if engines.is_damage(error):
            return damaged(self._folder, words)
        return damaged(self._folder, f"it cannot be brought to this release's schema: {words}")

    def _empty_journal(self) -> None:
        try:
            engines.checkpoint(self._write_engine)
        except (*engines.SqliteError, Unavailable) as error:
            if engines.is_damage(error):
                raise damaged(self._folder, engines.words_of(error)) from error
            with self.reserve.released():
                self._move_journal()

    def _dispose(self) -> None:
        for engine in (self._read_engine, self._scarce_engine, self._write_engine):
            engine.dispose()
        if hasattr(self, "reserve"):
            self.reserve.close()
        self._writing.close()
        os.close(self._lock)


def _run_in_savepoint(connection: Connection, function: Callable[[Connection], Any]) -> _Outcome:
    savepoint = connection.begin_nested()
    try:
        result = function(connection)
        savepoint.commit()
        return result, None
    except ServiceError as error:
        savepoint.rollback()
        return None, error
    except sqlalchemy.exc.SQLAlchemyError as error:
        if engines.lacks_room(error):
            raise  # SQLite may have rolled back all that was done before, too
        savepoint.rollback()
        return None, engines.as_failure(error, "written")
    except Exception as error:
        savepoint.rollback()
        return None, error


def _size(connection: Connection) -> tuple[int, int]:
    """Returns the pages of the store's file, and those of them that are in use."""
    pages, free = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count")
    )
    return pages, pages - free


def _store_full() -> StoreFull:
    return StoreFull(
        "data_dir: the disk is full, and this would make the store grow, or delete more at once "
        "than its reserve holds; delete examples or heads, some at a time",
        field="data_dir",
        limit="the room on its disk",
    )
