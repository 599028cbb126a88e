"""uvicorn with our connections: bounded, and over TLS where there is a certificate."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Iterable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from service.tls import Certificates
from service.transport.http_connections import Connections, HttpConnection
from service.transport.limits import TransportLimits
from service.transport.tls_connections import over_tls

MAX_HEAD_BYTES = 128 * 1024
"""Longer headers are refused by the parser; the guard refuses shorter ones in our own words."""

BACKLOG = 128
"""Connections that the kernel keeps until they are taken."""


def connection_class(limits: TransportLimits, certificates: Certificates | None = None) -> Any:
    """Returns what uvicorn makes a connection of one port with.

    uvicorn knows nothing of TLS: it would take connections that have done no handshake without
    counting them, and has no way to take another certificate.
    """
    connections = Connections(limits)
    make_http = functools.partial(HttpConnection, connections)
    return make_http if certificates is None else over_tls(make_http, connections, certificates)


def http_config(
    app: ASGIApp,
    limits: TransportLimits,
    certificates: Certificates | None = None,
    *,
    trusted_proxies: Iterable[str] = (),
    **more: Any,
) -> uvicorn.Config:
    """Returns uvicorn's settings for an application with these limits.

    Args:
        certificates: if TLS is spoken.
        trusted_proxies: whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    """
    return uvicorn.Config(
        app,
        http=connection_class(limits, certificates),
        loop="asyncio",  # whatever else is installed
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=max(1, int(limits.idle_seconds)),
        forwarded_allow_ips=list(trusted_proxies),
        **more,
    )


async def serve_asgi(
    app: ASGIApp,
    listener: socket.socket,
    limits: TransportLimits,
    certificates: Certificates | None = None,
) -> asyncio.Server:
    """Serves a small application beside others on this event loop, until it is closed."""
    config = http_config(app, limits, certificates, lifespan="off")
    config.load()
    state = ServerState()
    return await asyncio.get_running_loop().create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]
        sock=listener,
        backlog=BACKLOG,
    )
