"""Addresses to listen on and to dial."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # ::ffff:127.0.0.1 is what a socket for both families makes of an IPv4 peer.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def is_network(text: str) -> bool:
    """Returns whether a text is an IP address, or a network of them (``10.0.0.0/24``)."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def join_address(host: str, port: int) -> str:
    """Joins ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_origin(text: str) -> bool:
    """Returns whether a text is an origin of the web: scheme, host, and a port or none."""
    parts = _split(text)
    return (
        parts is not None and parts.scheme in _PORTS and text == f"{parts.scheme}://{parts.netloc}"
    )


def is_origin_of(origin: str, host: str, scheme: str) -> bool:
    """Returns whether an origin is that of a server, as a request reaches it.

    Args:
        host: that the request names (`Host`).
        scheme: of the connection, ``http`` or ``https``.
    """
    if not is_origin(origin):
        return False
    page, server = urlsplit(origin), _split(f"//{host}")
    port = _PORTS[page.scheme]
    return server is not None and (page.scheme, page.hostname, page.port or port) == (
        scheme,
        server.hostname,
        server.port or port,
    )


def host_of(address: str) -> str:
    """Returns the host of ``host:port``, or nothing if there is none to be read."""
    parts = _split(f"//{address}")
    return (parts.hostname or "") if parts else ""


@lru_cache(maxsize=1024)
def host_of_peer(peer: str) -> str:
    """Returns the host of a peer as gRPC names it: ``ipv4:127.0.0.1:50051``; "" for no address."""
    kind, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


def _split(text: str) -> SplitResult | None:
    """Returns the parts of an address with a host and a possible port, or none."""
    try:
        parts = urlsplit(text)
        good = parts.hostname and parts.port != 0 and "@" not in parts.netloc
        return parts if good else None
    except ValueError:
        return None
