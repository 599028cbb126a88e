"""What ties one serving process to the others on its store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from service.access.authentication import Authentication
from service.access.quotas import QuotaBook
from service.cluster.feed import ChangeFeed, UpToDate
from service.cluster.keeper import Keeper, OtherMembers
from service.cluster.member import Member
from service.cluster.pages import page_of_all, serve_page
from service.cluster.siblings import Siblings
from service.concurrency.tasks import UninterruptedTasks
from service.metrics import Metrics
from service.requests.calls import Calls, Handler
from service.store import Database
from service.store.sqlite.data_version import DataVersion

LOOK = "look"
"""The message that says that the store has changed."""
SPENT = "spent"
"""The message of cost units that were taken, by tenant."""
TENANTS_AT_ONCE = 500
"""In one message: some 100 bytes each."""


class Links:
    """The feed, the messages, the keeper and the metrics of a member.

    Args:
        request_timeout: seconds of a call that is handed on and names no deadline.

    Attributes:
        calls: accounts for calls that others hand on; they count and note them themselves.
        feed: of changes.
        siblings: carry messages.
    """

    def __init__(
        self,
        member: Member,
        database: Database,
        data_dir: Path,
        tasks: UninterruptedTasks,
        request_timeout: float,
    ) -> None:
        self._member = member
        self._version = DataVersion(data_dir)
        self.siblings = Siblings(member.folder, member.name, member.others)
        self.feed = ChangeFeed(
            database, member.name, self._version, lambda: self.siblings.send(LOOK), tasks
        )
        self.siblings.listen(LOOK, lambda _: self.feed.look_soon())
        self.calls = Calls(Metrics(0), request_timeout)
        self._keeper = None if member.keeper else Keeper(member.folder)
        self._page: asyncio.Server | None = None

    @property
    def others(self) -> Authentication:
        """Says who makes a call that another member hands on."""
        return UpToDate(OtherMembers(), self.feed)

    def handlers(self, own: Mapping[str, Handler]) -> Mapping[str, Handler]:
        """Returns the handlers of this member: what the keeper does is handed on to it."""
        return own if self._keeper is None else self._keeper.handlers(own)

    def share_quotas(self, book: QuotaBook) -> None:
        """Has each member take from its buckets what the others have taken from theirs."""

        def tell(spent: Mapping[str, float]) -> None:
            names = list(spent)
            for start in range(0, len(names), TENANTS_AT_ONCE):
                some = names[start : start + TENANTS_AT_ONCE]
                self.siblings.send(SPENT, {name: spent[name] for name in some})

        book.share(tell)
        self.siblings.listen(SPENT, book.hear_of)

    async def start(self, metrics: Metrics) -> None:
        """Begins to follow the others; nothing may be held in memory yet."""
        await self.feed.start()
        self.siblings.start()
        self._page = await serve_page(self._member.folder, self._member.name, metrics.registry)

    async def metrics(self, own: str) -> str:
        """Returns the metrics of all members.

        Args:
            own: those of this one.
        """
        return await page_of_all(self._member.folder, own, self._member.all_processes)

    async def close(self) -> None:
        """Lets go of the others; the database must still be open."""
        self.siblings.close()
        if self._page is not None:
            self._page.close()
        if self._keeper is not None:
            await self._keeper.close()
        self._version.close()
