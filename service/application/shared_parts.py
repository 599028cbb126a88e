"""What servers share through Redis or Valkey: an embedding cache, and what quotas have left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.access.shared_quotas import SharedQuotas
from service.config import ServerSettings
from service.metrics import Metrics
from service.shared import TenantSecrets
from service.store.database import Database

if TYPE_CHECKING:
    from service.embedding.shared_cache import SharedCache
    from service.shared.server import SharedServer


class SharedParts:
    """The parts of an application that need a shared cache server; none, if there is none."""

    def __init__(self, settings: ServerSettings, database: Database, metrics: Metrics) -> None:
        self._server: SharedServer | None = None
        self.quotas: SharedQuotas | None = None
        self.cache: SharedCache | None = None
        if settings.shared_cache_address is None:
            return
        # They import redis: 0.1 s that others need not wait.
        from service.embedding.shared_cache import SharedCache
        from service.shared.server import SharedServer

        seconds = settings.shared_cache_timeout_ms / 1000
        secrets = TenantSecrets(database, seconds)
        self._server = SharedServer(
            settings.shared_cache_address, seconds, metrics, settings.shared_cache_tls_files
        )
        self.quotas = SharedQuotas(self._server, secrets, time.monotonic)
        self.cache = SharedCache(
            self._server,
            secrets,
            metrics,
            ttl_seconds=settings.shared_cache_ttl_seconds,
            queued_bytes=settings.shared_cache_queued_bytes,
        )

    def start(self) -> None:
        """Begins to ask the server."""
        if self._server is not None:
            self._server.start()

    async def close(self) -> None:
        """Writes nothing more, and lets go of the server."""
        for part in (self.cache, self.quotas, self._server):
            if part is not None:
                await part.close()
