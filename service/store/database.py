"""The store, as the rest of the server knows it: transactions, off the event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection

from service.errors import OutcomeUnknown, ServiceError
from service.store.changes import Changed, noted
from service.store.claims import use_session
from service.store.quotas import Quotas
from service.store.tenants import use_defaults

P = ParamSpec("P")
R = TypeVar("R")


class Feed(Protocol):
    """What servers that share a store tell one another; it tells the database's followers."""

    def record(self, connection: Connection, changed: Changed) -> None:
        """Notes what a write has changed, within its transaction."""

    def announce(self) -> None:
        """Lets all servers know that there is more; called on the event loop, after the commit."""

    async def catch_up(self) -> None:
        """Returns when followers know of all that was committed before the call.

        Raises:
            Unavailable, StoreFailed: the store does not answer.
        """


class Database(ABC):
    """A store that is open. `service.store.opening` opens one.

    Attributes:
        joined_labels: by the names of heads, how many stored labels became one with another when
            labels were normalised, if that was done now.
        quota_defaults: of tenants that have none of their own.
        session: of this server, where several share the store; None where it has it alone.
        on_stall: is called with True when the store begins to stall, and with False when it goes
            on.
    """

    def __init__(self) -> None:
        self.joined_labels: dict[str, int] = {}
        self.quota_defaults = Quotas()
        self.session: str | None = None
        self.on_stall: Callable[[bool], None] = lambda stalled: None
        self._followers: list[Callable[[Changed], None]] = []
        self._feed: Feed | None = None

    def share(self, feed: Feed) -> None:
        """Has followers told by a feed, of other servers' writes, too; call it before any write."""
        self._feed = feed

    @property
    @abstractmethod
    def full(self) -> bool:
        """Whether there was no room for what makes the store grow when that was last looked at."""

    @property
    @abstractmethod
    def reserved_bytes(self) -> int:
        """Room that is kept for deletions, as it was when it was last looked at."""

    @abstractmethod
    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Runs `function(connection, …)` in a read transaction.

        Raises:
            Unavailable: the store does not answer.
        """

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Runs `function(connection, …)` in a write transaction; returns after the commit.

        If the function raises, its own changes alone are rolled back. Followers are told of what it
        changed before the caller goes on. A cancelled caller does not undo it, and they are told
        all the same.

        Raises:
            OutcomeUnknown: followers are told as if it were done, and so let go of what may be old.
            Unavailable: the store does not answer, or is closed.
        """
        defaults, session = self.quota_defaults, self.session

        def work(connection: Connection) -> tuple[R, Changed]:
            use_session(use_defaults(connection, defaults), session)
            return self._recorded(connection, noted(connection, function, *args, **kwargs))

        job = self._submit(work)
        committed = asyncio.wrap_future(job)
        committed.add_done_callback(self._tell)
        result, changed = await asyncio.shield(committed)
        if self._feed is not None and changed:
            await self._hear_of(changed, self._feed)
        return result

    def tell(self, changed: Changed) -> None:
        """Tells all followers."""
        for follower in self._followers:
            follower(changed)

    def follow(self, follower: Callable[[Changed], None]) -> None:
        """Has a follower told of what each write changed, on the event loop, after the commit."""
        self._followers.append(follower)

    @abstractmethod
    async def checkpoint(self) -> None:
        """Does what the store can so that no byte of what was deleted is left on disk.

        Raises:
            Unavailable: the store does not answer, or readers were in the way for too long.
        """

    @abstractmethod
    def close(self) -> None:
        """Commits what was handed over, then lets the store go."""

    @abstractmethod
    def _submit(
        self, function: Callable[[Connection], tuple[R, Changed]]
    ) -> Future[tuple[R, Changed]]:
        """Has a function run in a write transaction; what it gives is set after the commit.

        Raises:
            Unavailable: the store does not answer, or is closed.
        """

    def _recorded(self, connection: Connection, outcome: tuple[R, Changed]) -> tuple[R, Changed]:
        if self._feed is not None and outcome[1]:
            self._feed.record(connection, outcome[1])
        return outcome

    async def _hear_of(self, changed: Changed, feed: Feed) -> None:
        """Tells followers of a write of our own where it stands among those of others."""
        try:
            await feed.catch_up()
        except ServiceError:  # it is committed; the feed tells it again to whoever asks next
            self.tell(changed)

    def _tell(self, committed: asyncio.Future[tuple[Any, Changed]]) -> None:
        if committed.cancelled():
            return
        error = committed.exception()
        if error is None:
            changed = committed.result()[1]
        elif isinstance(error, OutcomeUnknown):
            changed = error.changed
        else:
            return
        if self._feed is None:
            self.tell(changed)
        elif changed:
            self._feed.announce()
