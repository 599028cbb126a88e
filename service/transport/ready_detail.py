"""What ``/readyz`` says beside its status."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ReadyDetail:
    """ASGI middleware that lets a ready server say in the body what is wrong all the same.

    Args:
        detail: gives the words; none where nothing is wrong.
    """

    def __init__(self, app: ASGIApp, detail: Callable[[], str]) -> None:
        self._app = app
        self._detail = detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and has the last word about readiness."""
        if scope["type"] != "http" or scope["path"] != "/readyz":
            await self._app(scope, receive, send)
            return
        status = 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            if status != 200:
                await send(message)

        await self._app(scope, receive, note)
        if status == 200:
            await PlainTextResponse(f"{self._detail()}\n")(scope, receive, send)
