"""Writes that wait, connections that are cut, and what is read then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, select

from service.store import schema
from service.store.feedback import list_feedback
from tests.postgres import Postgres
from tests.service.store.records import MANY


class Gate:
    """A write that waits, before its commit, until the test lets it go on."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._call = function, args, kwargs
        self._reached, self._open = threading.Event(), threading.Event()
        self.runs = 0

    def __call__(self, connection: Connection) -> Any:
        self.runs += 1
        function, args, kwargs = self._call
        result = function(connection, *args, **kwargs)
        self._reached.set()
        assert self._open.wait(60)
        return result

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 60)

    def go_on(self) -> None:
        self._open.set()


def tenant_names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(schema.tenants.c.name).order_by(schema.tenants.c.name)))


def cut(postgres: Postgres, url: URL) -> None:
    """Ends all connections of the server under test."""
    postgres.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
        url.database,
    )


def log(connection: Connection, uid: str) -> list[tuple[int, str]]:
    rows = list_feedback(connection, uid, after=0, limit=MANY, state=None)
    return [(row.id, row.feedback_id) for row in rows]


def sessions(postgres: Postgres, url: URL) -> int:
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    return int(str(postgres.execute(count, url.database)[0][0]))
