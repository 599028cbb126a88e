"""What other servers on the store have changed, told to the followers of this one's database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from sqlalchemy import Connection

from service.access.authentication import Authentication
from service.access.caller import Caller
from service.concurrency.tasks import UninterruptedTasks
from service.errors import ServiceError, StoreFailed, Unavailable
from service.logs import get_logger
from service.store import Database
from service.store.change_feed import append_change, changes_after, last_change
from service.store.changes import Changed

log = get_logger(__name__)


class Version(Protocol):
    """Tells whether the store was changed."""

    def look(self) -> int:
        """Returns a number that has risen if anything was committed since it was last asked for."""


class ChangeFeed:
    """Reads the feed wherever the store has moved, once for all who ask at the same time.

    Args:
        server: the name of this one.
        version: is looked at before each request is answered, so it must be cheap.
        wake: lets the other servers know that there is more.
    """

    def __init__(
        self,
        database: Database,
        server: str,
        version: Version,
        wake: Callable[[], None],
        tasks: UninterruptedTasks,
    ) -> None:
        self._database, self._server = database, server
        self._version, self._wake, self._tasks = version, wake, tasks
        self._seen = -1
        self._through = 0
        self._reading: asyncio.Task[None] | None = None
        database.share(self)

    async def start(self) -> None:
        """Takes the store as it is; nothing is held in memory yet."""
        seen = self._version.look()
        self._through = await self._database.read(last_change)
        self._seen = seen

    def record(self, connection: Connection, changed: Changed) -> None:
        """Notes what a write of this server has changed, within its transaction."""
        append_change(connection, self._server, changed)

    def announce(self) -> None:
        """Has all servers look, this one included."""
        self._wake()
        self.look_soon()

    def look_soon(self) -> None:
        """Catches up although nobody asks: what works in the background waits for it."""
        self._tasks.start(self._look())

    async def catch_up(self) -> None:
        """Returns when followers know of all that was committed before the call.

        Raises:
            Unavailable, StoreFailed: the store does not answer.
        """
        wanted = self._version.look()
        while self._seen < wanted:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read(), name="change-feed")
            await asyncio.shield(self._reading)

    async def up_to_date(self) -> None:
        """Catches up: what others have changed they have acknowledged without asking anybody."""
        await self.catch_up()

    async def _read(self) -> None:
        seen = self._version.look()
        changes, through = await self._database.read(changes_after, self._through)
        for changed in changes:
            if changed.everything:
                log.warning("changes of other servers were missed: nothing in memory is trusted")
            self._database.tell(changed)
        self._seen, self._through = seen, through

    async def _look(self) -> None:
        try:
            await self.catch_up()
        except ServiceError as error:  # whoever asks next tries again
            log.warning("changes of other servers could not be read", reason=error.message)


class Follower(Protocol):
    """What knows whether a server has learned what others changed."""

    async def up_to_date(self) -> None:
        """Returns when this server knows all that was acknowledged before the call.

        Raises:
            Unavailable, StoreFailed: it cannot know.
        """


class UpToDate:
    """Tells who makes a call once this server knows what others changed before the call."""

    def __init__(self, authentication: Authentication, feed: Follower) -> None:
        self._authentication, self._feed = authentication, feed

    @property
    def required(self) -> bool:
        """Whether calls need a key."""
        return self._authentication.required

    async def caller(
        self, shown: Iterable[tuple[str, str]], before: Caller | None = None
    ) -> Caller:
        """Returns who makes a call with these headers; see `Authentication`."""
        try:
            await self._feed.up_to_date()
        except StoreFailed as error:
            raise Unavailable(
                "what other processes changed cannot be read now", retry_after=1.0
            ) from error
        return await self._authentication.caller(shown, before)

    def check_again(self, connection: Connection, caller: Caller) -> None:
        """Refuses who lost theirs since the call began; see `Authentication`."""
        self._authentication.check_again(connection, caller)
