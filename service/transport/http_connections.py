"""HTTP connections: how many there may be, and how long a client may make the server wait.

uvicorn closes a connection that is idle after a request. What it leaves open is bounded here: a
connection that never sends a request, one that sends headers or a body byte by byte, and one that
does not read its reply.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextvars import Context
from enum import Enum
from typing import Any, Protocol

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.logs import Seldom, get_logger
from service.transport.limits import TransportLimits

PATIENCE_SECONDS = 1.0
"""A connection whose client has been waited for less than this is not closed to make room."""

DISCARD_SECONDS = 5.0
"""A body has so much longer than the guard gives it, which answers before it is cut off."""

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
    b"content-length: 0\r\n\r\n"
)

log = get_logger(__name__)


class Awaited(Enum):
    """What the server waits for."""

    HEAD = "headers"
    BODY = "body"
    READING = "reading of the reply"
    REQUEST = "next request"


class Patient(Protocol):
    """A connection whose client may be waited for."""

    def waited_for(self) -> float:
        """Returns the seconds since the server began to wait for the client."""

    def cut(self, reason: str) -> None:
        """Closes the connection, whatever is under way."""


class Connections:
    """The open connections of one port, in the order in which their clients were waited for."""

    def __init__(self, limits: TransportLimits) -> None:
        self.limits = limits
        self._open = 0
        self._awaited: dict[Patient, None] = {}
        self._seldom = Seldom()

    def take_in(self) -> bool:
        """Counts a new connection, after closing another if there are too many; False if none is.

        Whom the server has waited for longest has to go: a client that sends at once never does.
        """
        if self._open >= self.limits.max_connections:
            longest = next(iter(self._awaited), None)
            past = longest is not None and longest.waited_for() >= PATIENCE_SECONDS
            if (left_out := self._seldom()) is not None:
                log.warning(
                    "too many connections",
                    max_connections=self.limits.max_connections,
                    closed="the one waited for longest" if past else "the new one",
                    left_out=left_out,
                )
            if longest is None or not past:
                return False
            longest.cut("to make room")
        self._open += 1
        return True

    def leave(self) -> None:
        """A connection that was taken in is closed."""
        self._open -= 1

    def wait_for(self, connection: Patient) -> None:
        """Its client is waited for from now on."""
        self._awaited.pop(connection, None)
        self._awaited[connection] = None

    def do_not_wait_for(self, connection: Patient) -> None:
        """The server has what it needs of its client."""
        self._awaited.pop(connection, None)


class HttpConnection(H11Protocol):
    """uvicorn's connection, with a time limit for whatever its client has to do."""

    def __init__(self, connections: Connections, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._connections = connections
        self._counted = False
        self._awaited: Awaited | None = None
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection in, or says that there are too many."""
        super().connection_made(transport)
        # Else a reply that fits into the buffer would count as read.
        if transport.get_extra_info("sslcontext") is None:  # else the wire below it has the limit
            transport.set_write_buffer_limits(high=0)
        self._counted = self._connections.take_in()
        if not self._counted:
            transport.write(BUSY)
            transport.close()
            return
        self._wait_for(Awaited.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._wait_for(None)
        if self._counted:
            self._counted = False
            self._connections.leave()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn leaves it to run out after an error

    def data_received(self, data: bytes) -> None:
        """Takes bytes of a request."""
        if self._counted:
            super().data_received(data)
            self._follow()

    def on_response_complete(self) -> None:
        """Turns to the next request."""
        # Timers and the next request must not keep this one, which is in its context.
        Context().run(super().on_response_complete)
        self._follow()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._follow()

    def resume_writing(self) -> None:
        """The client has read everything."""
        super().resume_writing()
        self._follow()

    def waited_for(self) -> float:
        """Returns the seconds since the server began to wait for the client."""
        return self.loop.time() - self._since

    def cut(self, reason: str) -> None:
        """Closes the connection, whatever is under way."""
        log.debug("connection closed", reason=reason, awaited=self._awaited)
        if self._awaited is Awaited.READING:  # else the kernel keeps what is not read
            reset = struct.pack("ii", 1, 0)
            connection: socket.socket = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self._wait_for(None)
        if self._counted:
            self._counted = False
            self._connections.leave()
        self.transport.abort()

    def _follow(self) -> None:
        """Finds out what is waited for now; a wait that goes on keeps its time."""
        if self._counted and (now := self._find_awaited()) is not self._awaited:
            self._wait_for(now)

    def _find_awaited(self) -> Awaited | None:
        if self.flow.write_paused:
            return Awaited.READING
        if self.conn.their_state is h11.SEND_BODY:
            return Awaited.BODY
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        if self.cycle is None or self.conn.trailing_data[0]:
            return Awaited.HEAD
        return Awaited.REQUEST

    def _wait_for(self, awaited: Awaited | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._awaited = awaited
        if awaited is None:
            self._connections.do_not_wait_for(self)
            return
        self._since = self.loop.time()
        self._connections.wait_for(self)
        limits = self._connections.limits
        seconds = {
            Awaited.HEAD: limits.head_seconds,
            Awaited.BODY: limits.body_seconds + DISCARD_SECONDS,
            Awaited.READING: limits.body_seconds,
            Awaited.REQUEST: limits.idle_seconds,
        }[awaited]
        self._timer = self.loop.call_later(seconds, self.cut, "took too long", context=Context())
