"""The servers on one store in PostgreSQL: what each must know before a change is acknowledged.

A change is acknowledged when every server with a lease has confirmed that it knows it, or its lease
has ended. So a call asks nobody: a server whose lease is good knows what was acknowledged before,
and one whose lease has ended answers nothing until it has another and has read what it missed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection

from service.cluster.lease import MARGIN_SECONDS, Lease, now
from service.cluster.member import chosen
from service.concurrency.tasks import UninterruptedTasks
from service.errors import ServiceError, Unavailable
from service.logs import get_logger
from service.store import servers
from service.store.change_feed import CHANGES, append_change, changes_after, last_change
from service.store.changes import Changed
from service.store.kept_bytes import kept_bytes
from service.store.postgres import PostgresDatabase

RENEW_SECONDS = 5.0
RETRY_SECONDS = 0.5
"""Pause after which a store that does not answer is asked again."""
RELEASE_SECONDS = 1.0
"""Time that a server which stops takes to say so."""
LONG_SECONDS = 1.0
"""A wait for other servers that is logged."""
NAME_FILE = "server.id"
NAME_BYTES = 4

log = get_logger(__name__)


class Fleet:
    """This server among those on its store.

    Args:
        data_dir: keeps the server's name from one start to the next, so that it ends its own lease.
        on_lapse: is called with True when the lease has ended, and with False when it is back.
        on_renewed: is called with each lease, once all is known that was committed before; with
            whether other servers have one than before.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        data_dir: Path,
        tasks: UninterruptedTasks,
        on_lapse: Callable[[bool], None],
    ) -> None:
        self.session = uuid.uuid4().hex
        self.on_renewed: Callable[[bool], None] = lambda others: None
        self._database, self._tasks, self._on_lapse = database, tasks, on_lapse
        self._name = _name(kept_bytes(data_dir / NAME_FILE, NAME_BYTES))
        self._live = [self._name]
        self._link = database.open_link()
        self._lease, self._lapsed = Lease(), False
        self._through = self._confirmed = 0
        self._reading = asyncio.Lock()
        self._next: asyncio.Task[int] | None = None
        self._heard = asyncio.Event()
        self._work: list[asyncio.Task[None]] = []
        self._ending: asyncio.TimerHandle | None = None
        database.session = self.session
        database.share(self)

    async def start(self) -> None:
        """Takes a lease, and the store as it is; nothing may be held in memory yet."""
        asked = now()
        await self._link.run(servers.register, self._name, self.session)
        self._through = self._confirmed = await self._link.run(last_change)
        self._count(asked)
        self._work = [
            asyncio.create_task(work, name=name)
            for name, work in (("lease", self._keep_lease()), ("changes", self._listen()))
        ]
        log.info("this server has a lease", server=self._name)

    async def up_to_date(self) -> None:
        """Returns if this server knows all changes that were acknowledged before the call.

        Raises:
            Unavailable: it cannot know.
        """
        if not self._lease.valid:
            raise Unavailable(
                "this server has not reached the store for too long, and does not know what others "
                "have changed; ask another one, or again later",
                field="store",
                retry_after=1.0,
            )

    def scores(self, uid: str) -> bool:
        """Returns whether it learns a head's feedback at once: each head is one server's.

        Where servers differ for a moment in who they are, that costs time alone.
        """
        return chosen(uid, self._live or [self._name]) == self._name

    def record(self, connection: Connection, changed: Changed) -> None:
        """Notes what a write of this server has changed, within its transaction."""
        append_change(connection, self._name, changed)

    def announce(self) -> None:
        """Has this server read on, although nobody may wait for it; the others were notified."""
        self._tasks.start(self._look())

    async def catch_up(self) -> None:
        """Returns when all servers know of all that was committed before the call.

        That takes as long as the lease of one that does not confirm it.

        Raises:
            Unavailable, StoreFailed: this one does not, as the store does not answer; but no server
                answers from before it any more.
        """
        began, number = now(), 0
        waited: set[str] = set()
        while True:
            heard, left = self._heard, began + servers.LEASE_SECONDS - now()
            try:
                number = number or await self._read()
                late = await self._link.run(servers.behind, self._name, number)
            except ServiceError:
                # Whoever renews its lease after the commit reads of it, so none outlives this.
                if left <= 0:
                    raise
            else:
                waited |= {server.name for server in late}
                if not late or left <= 0:
                    break
                left = min(left, *(server.seconds for server in late))
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await heard.wait()
        if (seconds := now() - began) > LONG_SECONDS:
            log.warning(
                "a change waited for servers that did not confirm it",
                servers=sorted(waited),
                seconds=round(seconds, 1),
            )

    async def close(self) -> None:
        """Gives the lease back; nothing is answered from memory any more."""
        self._lease.end()
        if self._ending is not None:
            self._ending.cancel()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        with suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._link.run(servers.release, self._name, self.session)
        self._link.close()

    async def _keep_lease(self) -> None:
        while True:
            try:
                await self._renew()
            except ServiceError as error:
                log.debug("the lease was not renewed", reason=error.message)
            except Exception:  # or nothing would renew it any more
                log.exception("the lease was not renewed")
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Returns the seconds until the lease is to be renewed: soon if the last try has failed."""
        since = servers.LEASE_SECONDS - MARGIN_SECONDS - self._lease.seconds
        return max(RETRY_SECONDS, RENEW_SECONDS - since)

    async def _renew(self) -> None:
        asked = now()
        if not await self._link.run(servers.renew, self._name, self.session):
            ended, self._name = self._name, _name(os.urandom(NAME_BYTES))
            log.warning("another server runs under this one's name", ended=ended, now=self._name)
            await self._link.run(servers.register, self._name, self.session)
        # After it: who commits from here on sees the lease, and waits.
        await self._read()
        self._count(asked)
        self._wake()
        before, self._live = self._live, await self._link.run(servers.live)
        if self._lease.valid:
            self.on_renewed(before != self._live)

    async def _listen(self) -> None:
        while True:
            with suppress(ServiceError):
                async with self._link.listening(CHANGES, servers.SERVERS) as channels:
                    await self._read()  # what was said while nobody listened
                    self._wake()
                    async for channel in channels:
                        if channel == CHANGES:
                            self._tasks.start(self._look())
                        else:
                            self._wake()
            await asyncio.sleep(RETRY_SECONDS)

    async def _look(self) -> None:
        with suppress(ServiceError):  # the next lease reads it
            await self._read()

    async def _read(self) -> int:
        """Reads on, once for all who ask before that begins; returns the newest number."""
        if self._next is None:
            self._next = asyncio.create_task(self._read_next(), name="change-feed")
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._next)

    async def _read_next(self) -> int:
        async with self._reading:
            self._next = None  # who asks from now on may know of more
            changes, through = await self._link.run(changes_after, self._through)
            for changed in changes:
                if changed.everything:
                    log.warning("changes were missed: nothing in memory is trusted")
                self._database.tell(changed)
            self._through = through
            if through > self._confirmed:
                await self._link.run(servers.confirm, self._name, self.session, through)
                self._confirmed = through
            return through

    def _wake(self) -> None:
        """Lets who waits for other servers look again."""
        self._heard.set()
        self._heard = asyncio.Event()

    def _count(self, asked: float) -> None:
        """Counts a lease, and has its end noted."""
        self._lease.renew(asked)
        if self._ending is not None:
            self._ending.cancel()
        loop = asyncio.get_running_loop()
        self._ending = loop.call_later(self._lease.seconds, lambda: self._note(lapsed=True))
        self._note(lapsed=not self._lease.valid)  # it may have taken long

    def _note(self, *, lapsed: bool) -> None:
        if lapsed == self._lapsed:
            return
        self._lapsed = lapsed
        if lapsed:
            log.error("the lease has ended: nothing is answered from memory", server=self._name)
        else:
            log.info("the lease is back", server=self._name)
        self._on_lapse(lapsed)


def _name(own: bytes) -> str:
    """Returns a name that people can tell, of at most 63 characters."""
    return f"{socket.gethostname()[:50]}-{own.hex()}"
