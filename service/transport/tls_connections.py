"""HTTP connections over TLS: counted from the first byte on, and with a limit for the handshake.

uvicorn and asyncio make a connection of HTTP only after the handshake, so that whoever does not do
it would hold a socket that nobody counts. Here the connection of TCP is taken in as one of HTTP is.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from contextvars import Context
from typing import Any

from service.errors import forget_frames
from service.logs import get_logger
from service.tls import Certificates
from service.transport.http_connections import Connections, HttpConnection

log = get_logger(__name__)


class Handshake(asyncio.Protocol):
    """A connection of TCP until TLS is spoken over it; then one of HTTP takes its place.

    Args:
        make_http: makes the connection of HTTP.
    """

    def __init__(
        self,
        connections: Connections,
        certificates: Certificates,
        make_http: Callable[[], HttpConnection],
    ) -> None:
        self._connections, self._certificates = connections, certificates
        self._make_http = make_http
        self._counted = False
        self._since = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection in, or closes it if there are too many."""
        transport.pause_reading()  # until TLS reads
        # As for connections without TLS: a reply in a buffer would count as read.
        transport.set_write_buffer_limits(high=0)
        self._transport = transport
        self._counted = self._connections.take_in()
        if not self._counted:
            transport.abort()
            return
        self._since = self._loop.time()
        self._connections.wait_for(self)
        self._task = self._loop.create_task(self._shake_hands(transport), context=Context())

    def waited_for(self) -> float:
        """Returns the seconds since the server began to wait for the client."""
        return self._loop.time() - self._since

    def cut(self, reason: str) -> None:
        """Closes the connection."""
        log.debug("connection closed", reason=reason, awaited="TLS handshake")
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        context = self._certificates.current.context
        assert context is not None, "a server has a certificate"
        early, limits = _Early(), self._connections.limits
        try:
            encrypted = await self._loop.start_tls(
                transport,
                early,
                context,
                server_side=True,
                ssl_handshake_timeout=limits.head_seconds,
                # In which the client must have read the last reply, too.
                ssl_shutdown_timeout=limits.body_seconds,
            )
        except OSError as error:  # of TLS, of the network, or the time was up
            log.debug("no TLS handshake", reason=str(error))
            forget_frames(error)  # asyncio keeps it in a cycle with TLS's buffer of 256 KiB
            encrypted = None
        finally:
            self._leave()
        if encrypted is None or early.lost:
            transport.abort()
            return
        http = self._make_http()
        encrypted.set_write_buffer_limits(high=sys.maxsize)  # the wire says what is not read
        encrypted.set_protocol(http)
        transport.set_protocol(_Wire(transport.get_protocol(), http))
        http.connection_made(encrypted)
        if early.data:
            http.data_received(bytes(early.data))
        if early.ended and not encrypted.is_closing():
            encrypted.close()

    def _leave(self) -> None:
        self._connections.do_not_wait_for(self)
        if self._counted:
            self._counted = False
            self._connections.leave()


class _Early(asyncio.Protocol):
    """Keeps what comes with the last message of the handshake, before HTTP takes over."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = self.lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class _Wire(asyncio.BufferedProtocol):
    """Between TCP and TLS: tells HTTP whether the client reads what it is sent.

    asyncio's TLS takes all that is written, passes it on to TCP, and says that it has been sent.
    """

    def __init__(self, tls: Any, http: HttpConnection) -> None:
        self._tls, self._http = tls, http
        self._paused = False

    def get_buffer(self, sizehint: int) -> Any:
        return self._tls.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self._tls.buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        kept_open: bool | None = self._tls.eof_received()
        return kept_open

    def connection_lost(self, exc: Exception | None) -> None:
        self._tls.connection_lost(exc)

    def pause_writing(self) -> None:
        self._paused = True
        self._tls.pause_writing()
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._paused = False
        self._tls.resume_writing()  # it sends what it has held back, and may have to wait again
        if not self._paused:
            self._http.resume_writing()


def over_tls(
    make_http: Callable[..., HttpConnection], connections: Connections, certificates: Certificates
) -> Callable[..., Handshake]:
    """Returns what makes connections that speak TLS first, of what makes those of HTTP."""

    def make(**uvicorns: Any) -> Handshake:
        return Handshake(connections, certificates, functools.partial(make_http, **uvicorns))

    return make
