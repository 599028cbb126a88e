"""What every application has: accounts of its requests, metrics and readiness."""

from __future__ import annotations

import os

from service.config import (
    ExtractorSettings,
    ServerSettings,
    StandaloneExtractorSettings,
    unknown_variables,
)
from service.logs import get_logger
from service.metrics import Metrics
from service.offline import forbid_downloads
from service.requests.calls import Calls
from service.transport.readiness import Readiness

DROPPED_SECONDS = 0.5
"""Time for requests that were dropped to notice it."""

log = get_logger(__name__)


class ServedRequests:
    """Request accounting, metrics and readiness, which both applications have.

    Logs the settings that count: what a flag, the environment or a file said, and all defaults.
    """

    def __init__(self, settings: ExtractorSettings) -> None:
        log.info("settings", **settings.model_dump(mode="json"))
        if settings.offline:
            forbid_downloads()
        if wires := settings.open_wires:
            log.warning("keys travel unencrypted: whoever is on the way can read them", wires=wires)
        both = ServerSettings.model_fields | StandaloneExtractorSettings.model_fields
        for name, near in unknown_variables(both, os.environ):
            log.warning("variable of no setting", variable=name, nearest=near or None)
        self._drain_seconds = settings.drain_seconds
        self.metrics = Metrics(settings.metrics_tenants)
        self.calls = Calls(
            self.metrics,
            settings.request_timeout_seconds,
            log_requests=settings.log_level == "debug",
        )
        self.readiness = Readiness()

    async def finish_requests(self) -> None:
        """Refuses new requests, and waits for those in flight as long as the settings allow.

        Watches and uploads are ended first; what is left in the end is dropped. Whoever is refused,
        ended or dropped is told when to come again.
        """
        self.readiness.drain()
        self.calls.drain()
        if not await self.calls.wait_until_idle(self._drain_seconds):
            self.drop_requests()
            await self.calls.wait_until_idle(DROPPED_SECONDS)

    def drop_requests(self) -> None:
        """Ends all requests in flight at once, with an error that says when to come again."""
        if dropped := self.calls.drop():
            log.warning("requests were dropped", requests=dropped)
