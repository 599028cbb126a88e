"""The other processes and servers that work on the same store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from service.access.authentication import Authentication
from service.cluster.feed import UpToDate
from service.cluster.links import Links
from service.cluster.member import Member
from service.concurrency.tasks import UninterruptedTasks
from service.config import ServerSettings
from service.metrics import Metrics
from service.requests.calls import Handler
from service.store.database import Database

if TYPE_CHECKING:
    from service.cluster.fleet import Fleet


class Peers:
    """Whom this process shares its store with; nobody, if it is alone.

    Args:
        member: which of several processes of this machine this is.
        on_lapse: is told whether this server may not answer, as its lease has ended.
    """

    def __init__(
        self,
        settings: ServerSettings,
        member: Member | None,
        database: Database,
        tasks: UninterruptedTasks,
        on_lapse: Callable[[bool], None],
    ) -> None:
        self._member = member
        self._drain_seconds = settings.drain_seconds
        self.links: Links | None = None
        if member is not None:
            self.links = Links(
                member, database, settings.data_dir, tasks, settings.request_timeout_seconds
            )
        self.fleet: Fleet | None = None
        if settings.store_url is not None:
            self.fleet = _fleet(database, settings.data_dir, tasks, on_lapse)

    @property
    def keeps(self) -> bool:
        """Whether this process does what there is one of for a store."""
        return self._member is None or self._member.keeper

    def scores(self, uid: str) -> bool:
        """Returns whether a head's feedback is this process's to learn at once."""
        among = self.fleet if self._member is None else self._member
        return among is None or among.scores(uid)

    def up_to_date(self, authentication: Authentication) -> Authentication:
        """Returns the same, asked once what the others have changed is known."""
        if self.links is not None:
            authentication = UpToDate(authentication, self.links.feed)
        if self.fleet is not None:
            authentication = UpToDate(authentication, self.fleet)
        return authentication

    def handlers(self, own: Mapping[str, Handler]) -> Mapping[str, Handler]:
        """Returns these, but for what another process does for all."""
        return own if self.links is None else self.links.handlers(own)

    async def start(self, metrics: Metrics) -> None:
        """Begins to hear the others."""
        if self.links is not None:
            await self.links.start(metrics)
        if self.fleet is not None:
            await self.fleet.start()

    async def finish_requests(self) -> None:
        """Waits for the calls that others have handed on, as long as the settings allow."""
        if self.links is not None:
            await self.links.calls.wait_until_idle(self._drain_seconds)

    async def close(self) -> None:
        """Takes leave of the others."""
        if self.links is not None:
            await self.links.close()
        if self.fleet is not None:
            await self.fleet.close()


def _fleet(
    database: Database,
    data_dir: Path,
    tasks: UninterruptedTasks,
    on_lapse: Callable[[bool], None],
) -> Fleet:
    # They need psycopg, which a file does not.
    from service.cluster.fleet import Fleet
    from service.store.postgres import PostgresDatabase

    assert isinstance(database, PostgresDatabase)
    return Fleet(database, data_dir, tasks, on_lapse)
