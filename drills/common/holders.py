"""Clients that hold connections, streams and bytes of a server until they are told to leave."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import httpx

from tests.raw_http2 import RawHttp2

MIB = 2**20
BODY_BYTES, MESSAGE_BYTES = 88 * MIB, 57 * MIB
LEAST_SHARE = 0.9
"""Of a kind of which the bounds allow all."""

S = TypeVar("S", socket.socket, RawHttp2)

EMBED = "/trunkline.v1.ExtractionService/Embed"


@dataclass(frozen=True, slots=True)
class Target:
    """What is attacked.

    Attributes:
        http: the URL of its HTTP port.
        grpc: ``host:port``.
        page: a path of the HTTP port with a large reply.
        body: a path that takes bodies; empty if there is none.
        streams: calls to leave open.
    """

    name: str
    http: str
    grpc: str
    page: str
    streams: tuple[str, ...]
    body: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of holding something.

    Attributes:
        hold: holds one more; raises an OSError if the server turns it away.
        count: how many are tried.
        least: of which so many must be held for the attack to be one.
        threads: that try, each its part; for what blocks.
    """

    name: str
    hold: Callable[[], None]
    count: int
    least: int
    threads: int = 1


class Holders:
    """Clients of one target, which hold something in every way at once.

    Attributes:
        held: how many were held, by kind, once all that `hold` gave has ended.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._url = httpx.URL(target.http)
        self._sockets: list[socket.socket | RawHttp2] = []
        self._streams = itertools.cycle(target.streams)
        self._many: RawHttp2 | None = None
        self._leaving = False
        self.kinds = self._kinds()
        self.held: Counter[str] = Counter()

    def hold(self) -> list[asyncio.Task[None]]:
        """Begins everything at once, each in threads of its own."""
        jobs = [kind for kind in self.kinds for _ in range(kind.threads)]
        pool = ThreadPoolExecutor(len(jobs))  # the polite client has the threads of the loop
        loop = asyncio.get_running_loop()
        return [asyncio.create_task(self._hold(loop, pool, kind)) for kind in jobs]

    def leave(self) -> None:
        """Closes everything; whoever is still at it ends."""
        self._leaving = True
        for one in list(self._sockets):
            _close(one)

    def __str__(self) -> str:
        held = (f"{self.held[kind.name]} {kind.name}" for kind in self.kinds)
        return f"{self._target.name}: {', '.join(held)}"

    def too_few(self) -> list[str]:
        """Says of which kinds so few were held that it was no attack."""
        return [
            f"{self._target.name}: only {self.held[kind.name]} of {kind.count} {kind.name} held"
            for kind in self.kinds
            if self.held[kind.name] < kind.least
        ]

    async def _hold(
        self, loop: asyncio.AbstractEventLoop, pool: ThreadPoolExecutor, kind: Kind
    ) -> None:
        held = await loop.run_in_executor(pool, self._try, kind)
        self.held[kind.name] += held

    def _try(self, kind: Kind) -> int:
        """Holds a thread's part of a kind; gives how many the server took."""
        held = 0
        for _ in range(kind.count // kind.threads):
            try:
                if not self._leaving:
                    kind.hold()
                    held += 1
            except (ConnectionError, TimeoutError):
                pass  # the server turns it away; anything else is a fault of this drill
            except OSError:
                if not self._leaving:  # closed meanwhile
                    raise
        return held

    def _kinds(self) -> list[Kind]:
        body = self._target.body
        large_bodies = [Kind("large unfinished bodies", self._large_body, 20, 1, threads=20)]
        return [
            # max_receiving_bytes lets in few of these, and turns the others away; messages all of
            # them where bodies came first. Half-open streams, which want as much, come last.
            *(large_bodies if body else []),
            Kind("large unfinished messages", self._large_message, 24, 0 if body else 1, 24),
            _all("idle connections", lambda: self._connect(b""), 1100),
            _all("unfinished headers", lambda: self._connect(b"GET / HTTP/1.1\r\nx: "), 100),
            _all("unfinished bodies", lambda: self._connect(self._head(1000) + b"{"), 100),
            _all("unread replies", self._unread_reply, 20),
            _all("unread watches", self._unread_watch, 20),
            _all("silent gRPC connections", self._silent_grpc, 550),
            _all("half-open streams", self._stream, 200),
        ]

    def _keep(self, one: S) -> S:
        self._sockets.append(one)
        if self._leaving:
            _close(one)
        return one

    def _open(self) -> socket.socket:
        address = self._url.host, self._url.port or 80
        return self._keep(socket.create_connection(address, timeout=60))

    def _open_http2(self, window: int = 65_535) -> RawHttp2:
        return self._keep(RawHttp2(self._target.grpc, window))

    def _head(self, length: int) -> bytes:
        return (
            f"POST {self._target.body or self._target.page} HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        ).encode()

    def _connect(self, sent: bytes) -> None:
        self._open().sendall(sent)

    def _unread_reply(self) -> None:
        asked = f"GET {self._target.page} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        self._open().sendall(asked.encode() * 50)

    def _unread_watch(self) -> None:
        raw = self._open_http2(window=0)
        stream = raw.open("/grpc.health.v1.Health/Watch")
        raw.send(stream, b"")
        raw.finish(stream)

    def _silent_grpc(self) -> None:
        host, _, port = self._target.grpc.rpartition(":")
        self._keep(socket.create_connection((host, int(port)), timeout=60))

    def _stream(self) -> None:
        """One more on one connection."""
        self._many = self._many or self._open_http2()
        self._many.open(next(self._streams))

    def _large_body(self) -> None:
        one = self._open()
        one.sendall(self._head(BODY_BYTES))
        for _ in range(BODY_BYTES // MIB - 1):
            one.sendall(b" " * MIB)

    def _large_message(self) -> None:
        raw = self._open_http2()
        stream = raw.open(EMBED)
        raw.send(stream, bytes(MESSAGE_BYTES - MIB), announced=MESSAGE_BYTES)
        if stream in raw.ended:
            raise ConnectionError("the server refused it")


def _all(name: str, hold: Callable[[], None], count: int) -> Kind:
    return Kind(name, hold, count, int(LEAST_SHARE * count))


def _close(one: socket.socket | RawHttp2) -> None:
    with suppress(OSError):
        if isinstance(one, socket.socket):
            one.shutdown(socket.SHUT_RDWR)
    one.close()
