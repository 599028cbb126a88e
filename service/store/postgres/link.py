"""Connections for what servers on one store tell one another, beside those of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import psycopg
import sqlalchemy
from psycopg import sql
from sqlalchemy import URL, Connection

from service.errors import Unavailable
from service.store.postgres import failures
from service.store.postgres.engines import connect_arguments, open_engine

P = ParamSpec("P")
R = TypeVar("R")

CONNECTIONS = 2
TRIES = 2
"""A connection may have been lost since it was used."""


class Link:
    """One connection that asks, in a thread of its own, and one that listens."""

    def __init__(self, url: URL, password_file: Path | None) -> None:
        self._engine = open_engine(url, password_file).execution_options(
            isolation_level="READ COMMITTED"
        )
        self._address = url, password_file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-link")

    async def run(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Runs `function(connection, …)` in a transaction; it must do no harm if it runs twice.

        Raises:
            Unavailable, StoreFailed: the store does not answer.
        """
        try:
            done = self._thread.submit(self._run, lambda c: function(c, *args, **kwargs))
        except RuntimeError as error:  # it was closed meanwhile
            raise Unavailable("the server is shutting down", retry_after=1.0) from error
        return await asyncio.wrap_future(done)

    @asynccontextmanager
    async def listening(self, *channels: str) -> AsyncIterator[AsyncIterator[str]]:
        """Gives the names of channels on which something was said since, until the link is lost.

        Raises:
            Unavailable: it cannot be made, or was lost.
        """
        try:
            async with await psycopg.AsyncConnection.connect(
                autocommit=True, **connect_arguments(*self._address)
            ) as connection:
                for channel in channels:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                yield (notice.channel async for notice in connection.notifies())
        except psycopg.Error as error:
            raise failures.away() from error

    def close(self) -> None:
        """Closes the connections, once what is under way has ended."""
        self._thread.shutdown()
        self._engine.dispose()

    def _run(self, function: Callable[[Connection], R]) -> R:
        for left in reversed(range(TRIES)):
            try:
                with self._engine.begin() as connection:
                    return function(connection)
            except sqlalchemy.exc.SQLAlchemyError as error:
                if not (failures.is_away(error) and left):
                    raise failures.as_failure(error, "read") from error
        raise AssertionError("unreachable")
