"""The application behind the REST routes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from service.access.authentication import Authentication
from service.access.quotas import QuotaBook
from service.errors import Unavailable
from service.requests.calls import Calls, Handler
from service.transport.message_parts import BASE_PARTS
from service.transport.readiness import Readiness

CALLER = "trunkline.caller"
"""Where a request's scope says who asks."""


class Backend:
    """The handlers behind the routes; attached when the server starts, after the routes exist.

    Args:
        max_parts: values that the JSON of a body may have.

    Attributes:
        listening: set when the REST port is open.
        handlers: by the name of the RPC.
    """

    def __init__(self, max_parts: int = BASE_PARTS) -> None:
        self.max_parts = max_parts
        self.listening = asyncio.Event()
        self.handlers: Mapping[str, Handler] = {}
        self._calls: Calls | None = None
        self._authentication: Authentication | None = None
        self._quotas: QuotaBook | None = None
        self._readiness: Readiness | None = None

    def attach(
        self,
        handlers: Mapping[str, Handler],
        calls: Calls,
        authentication: Authentication,
        quotas: QuotaBook | None = None,
        readiness: Readiness | None = None,
    ) -> None:
        """Connects the routes with the application."""
        self.handlers, self._calls = handlers, calls
        self._authentication = authentication
        self._quotas = quotas
        self._readiness = readiness

    def rate_limit(self, tenant: str) -> dict[str, str]:
        """Returns the headers that say what is left of a tenant's quota; none without one.

        They are of draft-ietf-httpapi-ratelimit-headers-10: units at most, and the seconds in which
        as many come in; units left, and the seconds until there are as many again.
        """
        limit = self._quotas.rate_limit(tenant) if self._quotas is not None and tenant else None
        if limit is None:
            return {}
        window = max(1, math.ceil(limit.window))
        return {
            "RateLimit-Policy": f'"cost";q={math.floor(limit.burst)};w={window}',
            "RateLimit": f'"cost";r={math.floor(limit.remaining)};t={math.ceil(limit.reset)}',
        }

    @property
    def calls(self) -> Calls:
        """The accounting of requests.

        Raises:
            Unavailable: the server is starting.
        """
        if self._calls is None:
            raise _starting()
        return self._calls

    @property
    def authentication(self) -> Authentication:
        """What says who asks.

        Raises:
            Unavailable: the server is starting.
        """
        if self._authentication is None:
            raise _starting()
        return self._authentication

    @property
    def attached(self) -> bool:
        """Whether the application is there."""
        return self._calls is not None

    @property
    def ready(self) -> bool:
        """Whether requests can be served now."""
        return self._readiness is not None and self._readiness.ready

    @property
    def draining(self) -> bool:
        """Whether the server stops."""
        return self._calls is not None and self._calls.draining


def _starting() -> Unavailable:
    return Unavailable("the server is starting", retry_after=1.0)
