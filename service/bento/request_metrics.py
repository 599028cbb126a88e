"""Keeps BentoML from metrics of their own for each path that anybody asks for.

BentoML labels its metrics of requests with the path, and does so before a request is refused. A
path names a head, or whatever a stranger likes: each new one took some 5 kB for ever.
"""

from __future__ import annotations

from bentoml._internal.server.http import instruments
from starlette.types import ASGIApp, Receive, Scope, Send

OWN_PATHS = frozenset({"/predict", "/embed", "/healthz", "/livez", "/readyz", "/metrics"})
REST = "/"
"""Where the API is mounted, which all of its paths are counted as."""

_ASKED = "trunkline.asked"
"""The scope as it came."""


class BoundedMetrics(instruments.RunnerTrafficMetricsMiddleware):
    """Takes the place of BentoML's middleware, and shows it no paths but BentoML's own."""

    def __init__(self, app: ASGIApp, *args: object, **kwargs: object) -> None:
        async def as_asked(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope.get(_ASKED, scope), receive, send)

        super().__init__(as_asked, *args, **kwargs)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts a request, and passes it on as it came."""
        if scope["type"] in ("http", "websocket"):
            path = scope["path"] if scope["path"] in OWN_PATHS else REST
            scope = {**scope, "path": path, _ASKED: scope}
        await super().__call__(scope, receive, send)


def bound_request_metrics() -> None:
    """Has applications that BentoML makes from now on count few paths alone."""
    instruments.RunnerTrafficMetricsMiddleware = BoundedMetrics  # type: ignore[misc]
