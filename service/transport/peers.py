"""The connection of a gRPC client, found by its address."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote

import psutil


def shut_down(peer: str) -> bool:
    """Ends the connection of a client; grpcio offers no way to.

    Args:
        peer: as gRPC names it: ``ipv4:127.0.0.1:40000`` or ``ipv6:[::1]:40000``. Clients on a Unix
            socket have no names of their own, and stay.

    Returns:
        Whether one was found.
    """
    kind, _, address = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return False
    host, _, port = address.rpartition(":")
    wanted = _plain(host.strip("[]"), int(port))
    for connection in psutil.Process().net_connections("tcp"):
        if connection.raddr and connection.fd >= 0 and _plain(*connection.raddr) == wanted:
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fd)) as found:
                # The number may have been given to another file in the meantime.
                if _plain(*found.getpeername()[:2]) == wanted:
                    found.shutdown(socket.SHUT_RDWR)
                    return True
    return False


def _plain(host: str, port: int) -> tuple[IPv4Address | IPv6Address, int]:
    """An address without IPv6 around IPv4, which grpcio listens with."""
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address, port
