"""Secrets of tenants in memory: read when they are needed, dropped when the store renews them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from service.errors import ServiceError
from service.shared.sealing import Seal
from service.store import Database
from service.store.cache_secrets import find_secrets, make_secrets
from service.store.changes import Changed

MAX_TENANTS = 4096
"""Tenants whose secrets are in memory, some 1.5 KB each; further ones are read again."""


class TenantSecrets:
    """Gives each tenant the seal of its secrets; it follows the database.

    Args:
        seconds: that the store has to give them: nobody waits for long for the sake of a cache.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database, self._seconds = database, seconds
        self._seals: OrderedDict[str, Seal] = OrderedDict()
        self._changes = 0
        database.follow(self._update)

    def at_hand(self, tenant: str) -> Seal | None:
        """Returns a tenant's seal if it is in memory."""
        return self._seals.get(tenant)

    async def of(self, tenant: str) -> Seal | None:
        """Returns a tenant's seal; None if the store has no such tenant, or gives none in time."""
        seal = self._seals.get(tenant)
        if seal is not None:
            self._seals.move_to_end(tenant)
            return seal
        changes = self._changes
        try:
            async with asyncio.timeout(self._seconds):
                secrets = await self._database.read(find_secrets, tenant)
                if secrets is None:
                    secrets = await self._database.write(make_secrets, tenant)
        except (ServiceError, TimeoutError):  # whoever needs the store says so
            return None
        # What was read before a change may have been renewed by it.
        if changes != self._changes:
            return None
        seal = self._seals[tenant] = Seal(secrets)
        if len(self._seals) > MAX_TENANTS:
            self._seals.popitem(last=False)
        return seal

    def _update(self, changed: Changed) -> None:
        renewed = {*changed.needed, *changed.tails, *changed.gone, *changed.outdated}
        if changed.everything:
            renewed |= self._seals.keys()
        self._changes += changed.everything or bool(renewed)
        for tenant in renewed:
            self._seals.pop(tenant, None)
