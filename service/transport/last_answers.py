"""Middleware that makes each answer of a stopping server the last of its connection."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.transport.backend import Backend

CLOSE = (b"connection", b"close")


class LastAnswers:
    """ASGI middleware that says ``Connection: close`` while the server stops.

    A client that is told so sends no further request, which a closed connection would drop.
    """

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        self._app = app
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""

        async def last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._backend.draining:
                kept = [pair for pair in message.get("headers", ()) if pair[0] != CLOSE[0]]
                message = {**message, "headers": [*kept, CLOSE]}
            await send(message)

        await self._app(scope, receive, last)
