"""The way from REST to handlers that ask nobody for a key."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.authentication import Authentication, NoKeys
from service.access.caller import ANYONE
from service.requests.calls import Calls, Handler
from service.transport.backend import CALLER, Backend
from tests.service.transport.counted import Counted


def open_backend(
    handlers: Mapping[str, Handler] | None = None, authentication: Authentication | None = None
) -> Backend:
    """Returns a backend with these handlers, without any if there are none."""
    backend = Backend()
    backend.attach(handlers or {}, Calls(Counted(), 60), authentication or NoKeys())
    return backend


def as_anyone(app: ASGIApp) -> ASGIApp:
    """Returns an application behind what says that no key is asked for, as the guard does."""

    async def known(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, CALLER: ANYONE}, receive, send)

    return known
