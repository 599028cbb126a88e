"""Keeps BentoML from a timer for each request.

BentoML has one that ends requests which take longer than its ``traffic.timeout``. It sets the timer
when a request comes and never cancels it, so that some 4.5 kB of the request stay in memory until
it goes off. Deadlines here are the application's own and up to a day: so would the memory be. Its
configuration knows no way to have no timeout.
"""

from __future__ import annotations

from bentoml._internal.server.http import traffic
from starlette.types import ASGIApp, Receive, Scope, Send


class NoTimer:
    """Takes the place of BentoML's middleware, and passes every request on."""

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes it on."""
        await self._app(scope, receive, send)


def remove_request_timers() -> None:
    """Has applications that BentoML makes from now on set no timers."""
    traffic.TimeoutMiddleware = NoTimer  # type: ignore[assignment,misc]
