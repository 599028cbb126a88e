"""The connections of gRPC clients, found by their addresses."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote

import psutil

from service.logs import get_logger

Address = tuple[IPv4Address | IPv6Address, int]

log = get_logger(__name__)


class PeerDropper:
    """Ends connections of clients, each once, however many of its calls ask for it.

    Finding them takes tens of milliseconds, so a thread does it, for all that are due by then.
    """

    def __init__(self) -> None:
        self._due: set[str] = set()
        self._dropping: asyncio.Task[None] | None = None

    def drop(self, peer: str) -> bool:
        """Ends the connection of a client soon; returns whether nobody had asked for it."""
        if peer in self._due:
            return False
        self._due.add(peer)
        if self._dropping is None:
            self._dropping = asyncio.get_running_loop().create_task(self._drop_due())
        return True

    async def _drop_due(self) -> None:
        try:
            while self._due:
                peers = frozenset(self._due)
                try:
                    await asyncio.to_thread(shut_down, peers)
                except (OSError, psutil.Error) as error:
                    log.error("connections not closed", peers=len(peers), reason=str(error))
                self._due -= peers
        finally:
            self._dropping = None


def shut_down(peers: Collection[str]) -> None:
    """Ends the connections of clients; grpcio offers no way to.

    Args:
        peers: as gRPC names them: ``ipv4:127.0.0.1:40000`` or ``ipv6:[::1]:40000``. Clients on a
            Unix socket have no names of their own, and stay.

    Raises:
        OSError, psutil.Error: the open files cannot be listed.
    """
    wanted = {address for peer in peers if (address := _address(peer)) is not None}
    if not wanted:
        return
    for connection in psutil.Process().net_connections("tcp"):
        if connection.raddr and connection.fd >= 0 and _plain(*connection.raddr) in wanted:
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fd)) as found:
                # The number may have been given to another file in the meantime.
                if _plain(*found.getpeername()[:2]) in wanted:
                    found.shutdown(socket.SHUT_RDWR)


def _address(peer: str) -> Address | None:
    kind, _, address = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    host, _, port = address.rpartition(":")
    return _plain(host.strip("[]"), int(port))


def _plain(host: str, port: int) -> Address:
    """An address without IPv6 around IPv4, which grpcio listens with."""
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address, port
