"""Addresses of servers, and what people give in their place.

`HOST:PORT` and `https://HOST:PORT` are one server, `dns:///HOST:PORT` all that a name leads to, and
`unix:PATH` a socket.
"""

import os
import re
from urllib.parse import urlsplit

from trunkline.errors import InvalidArgument

DEFAULT_ADDRESS = "127.0.0.1:50051"
MAX_SOCKET_PATH_BYTES = 107
"""Longest path of a Unix socket on Linux (unix(7)), without the zero at its end."""

_PATH = ("/", "./", "../")
_FORM = "HOST:PORT, https://HOST:PORT, dns:///HOST:PORT or unix:PATH"
_BALANCED = "dns:///"
_ENCRYPTED = ("https://", "grpcs://")
_DEFAULT_PORT = DEFAULT_ADDRESS.rpartition(":")[2]
_TWO_SLASHES = re.compile("unix://(?!/)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST = re.compile(r"[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+(%\w+)?\]")


def check_address(address: str) -> str:
    """Returns the address if it is `HOST:PORT`, or that behind a scheme, or `unix:PATH`.

    The schemes are `https://` or `grpcs://`, and `dns:///`. Raises `InvalidArgument`, which says
    what to give instead.
    """
    if not isinstance(address, str):  # a port alone, or a pair, perhaps
        raise InvalidArgument(
            f"an address must be a str ({_FORM}), is {type(address).__name__}",
            field="server",
            limit=_FORM,
            value=repr(address)[:100],
        )
    reason = address_fault(address)
    if reason is None:
        return address
    meant = suggested_address(address)
    instead = f"; give {_FORM}, e.g. {meant or DEFAULT_ADDRESS}"
    raise InvalidArgument(
        f"not an address: {address!r} {reason}{instead}",
        field="server",
        limit=_FORM,
        value=address,
    )


def address_fault(address: str) -> str | None:
    """Returns what is wrong with an address, such as "has no port"; None if nothing is."""
    socket = address.removeprefix("unix:") if address.startswith("unix:") else ""
    return _socket_fault(socket) if socket else _fault(host_and_port(address))


def is_encrypted(address: str) -> bool:
    """Returns whether an address says that the server speaks TLS."""
    return address.lower().startswith(_ENCRYPTED)


def is_balanced(address: str) -> bool:
    """Returns whether an address stands for every server that its name leads to."""
    return address.startswith(_BALANCED)


def host_and_port(address: str) -> str:
    """Returns an address of TCP without its scheme."""
    return target_of(address).removeprefix(_BALANCED)


def target_of(address: str) -> str:
    """Returns an address as gRPC takes it: without the scheme that says TLS."""
    return address[len(_ENCRYPTED[0]) :].removesuffix("/") if is_encrypted(address) else address


def suggested_address(address: str) -> str | None:
    """Returns where the gRPC server is that was meant by another form of address, most likely."""
    if address.startswith("unix:"):
        return f"unix:{address[6:]}" if _TWO_SLASHES.match(address) else None
    if address.startswith(_PATH):
        return f"unix:{address}"
    if is_balanced(address):
        one = suggested_address(host_and_port(address))
        return None if one is None else f"{_BALANCED}{one}"
    scheme = _SCHEME.match(address)
    # The port of a web address is that of REST.
    web = scheme is not None and scheme[1].lower() == "http"
    try:
        parts = urlsplit(address if scheme else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or not _HOST.fullmatch(f"[{host}]" if ":" in host else host):
        return None
    named = f"[{host}]" if ":" in host else host
    named = f"https://{named}" if is_encrypted(address) else named
    named = f"{_BALANCED}{named}" if scheme is not None and scheme[1].lower() == "dns" else named
    return f"{named}:{_DEFAULT_PORT if web or not port else port}"


def other_port(address: str) -> str | None:
    """Returns the same host's default port of gRPC, if the address has another."""
    host, _, port = address.rpartition(":")
    return None if port == _DEFAULT_PORT or host in ("", "unix") else f"{host}:{_DEFAULT_PORT}"


def socket_path_fault(path: str | os.PathLike[str]) -> str | None:
    """Returns what is wrong with the length of a Unix socket's path; None if nothing is."""
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        return f"has a path of {size} bytes, and a socket's has at most {MAX_SOCKET_PATH_BYTES}"
    return None


def _socket_fault(path: str) -> str | None:
    """Returns what is wrong with the path of a Unix socket."""
    if _TWO_SLASHES.match(f"unix:{path}"):
        return "has two slashes, where a path has one or three"
    return socket_path_fault(path)


def _fault(address: str) -> str | None:
    """Returns what is wrong with an address of TCP."""
    scheme = _SCHEME.match(address)
    if scheme is not None:
        rest = " of REST, and this is gRPC" if scheme[1].lower() == "http" else ""
        return f"is a web address{rest}" if rest else f"begins with {scheme[0]}"
    if address.startswith(_PATH):
        return "is a path"
    host, colon, port = address.rpartition(":")
    if not colon or (address.startswith("[") and address.endswith("]")):
        return "has no port" if address else "is empty"
    if not host:
        return "has no host"
    if not _HOST.fullmatch(host):
        return "needs an IPv6 host in [brackets]" if host.count(":") > 1 else "has no valid host"
    if not (port.isascii() and port.isdigit()):
        return f"has {port!r} for a port" if port else "has no port"
    return None if 0 < int(port[:9]) < 2**16 else f"has port {port}, which must be from 1 to 65535"
