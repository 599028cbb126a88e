"""Why a server cannot be reached, in words that say what to do.

gRPC says it in a sentence of its own, and retries whatever it is. Here what waiting can mend is
`Unavailable`, and what it cannot, a wrong address, `InvalidArgument`.
"""

import re
from pathlib import Path

from trunkline.connection.addresses import host_and_port, is_balanced
from trunkline.connection.proxies import proxy_variable
from trunkline.errors import InvalidArgument, TrunklineError, Unavailable

NO_SUCH_HOST = "NO_SUCH_HOST"
"""The reason of an address whose host's name leads nowhere."""
NO_TLS = "NO_TLS"
"""The reason of an address that begins with https:// and at which no TLS is spoken."""

_NOT_FOUND = ("Domain name not found", "Misformatted domain name")
_REFUSED_BY_PROXY = re.compile(r"HTTP proxy returned response code (\d+)")
_AT_ONCE = "it closes connections at once, as one does that wants TLS: then put https:// before it"
_OTHER_PROTOCOL = ("Failed parsing HTTP/2", "missing selected ALPN property")
_NOT_TRUSTED = re.compile(
    r"CERTIFICATE_VERIFY_FAILED: (?P<reason>[^:;]+)|(?P<name>Hostname Verification Check failed)"
)
_PLAIN = "WRONG_VERSION_NUMBER"
_ABSENT = {
    "Connection refused": "connection refused",
    "No such file or directory": "there is no such socket",
    "before receiving SETTINGS": "it takes connections and says nothing",
    "attempt timed out": "no answer in time",
    "Connection reset": _AT_ONCE,
    "Socket closed": _AT_ONCE,
    "No route to host": "no route to the host",
    "Network is unreachable": "the network is unreachable",
}
_UNCONNECTED = re.compile(
    "failed to connect to all addresses|connections to all backends failing|errors resolving"
    "|DNS resolution"
)


def unreachable(details: str, address: str) -> TrunklineError | None:
    """Returns the error that gRPC's own `details` of an UNAVAILABLE call stand for.

    None where a server was reached.
    """
    if not _UNCONNECTED.search(details):
        return None
    if address.startswith("unix:"):
        fault = _socket_fault(Path(address.removeprefix("unix:")), details)
        if fault:
            return InvalidArgument(
                f"{address} {fault}", field="server", limit="a socket", value=address
            )
    if (tls := _fault_of_tls(details, address)) is not None:
        return tls
    if any(words in details for words in _OTHER_PROTOCOL):
        in_tls = address.startswith(("https://", "grpcs://"))
        or_tls = "" if in_tls else ", or speaks it in TLS alone"
        return InvalidArgument(
            f"what answers at {address} does not speak gRPC{or_tls}; is it the port of REST? The "
            "server prints both addresses when it starts",
            field="server",
            limit="the address of gRPC",
            value=address,
        )
    return _by_proxy(details, address) or _absent(details, address)


def _socket_fault(path: Path, details: str) -> str | None:
    """Returns what is wrong with a Unix socket, if waiting cannot mend it."""
    if "Permission denied" in details:
        return "is closed to this user: permission denied"
    if path.is_dir():
        return "is a directory; name the socket in it"
    return "is a file, and no socket" if path.exists() and not path.is_socket() else None


def _by_proxy(details: str, address: str) -> TrunklineError | None:
    """Returns the error of a proxy that gRPC went through."""
    variable, host = proxy_variable(address), host_and_port(address).rpartition(":")[0]
    unknown = _is_unknown_host(details)
    if variable is None or (unknown and host_and_port(address) in details):
        return None
    around = f"{variable} is set, so gRPC goes through a proxy; no_proxy={host} goes around it"
    refused = _REFUSED_BY_PROXY.search(details)
    if refused or unknown:
        why = f"answers with HTTP {refused[1]}" if refused else "has a host that does not exist"
        return InvalidArgument(
            f"the proxy to {address} {why}. {around}", field="server", value=address
        )
    reason = _reason(details)
    return Unavailable(
        f"no server answers at {address} ({reason}). {around}", field="server", value=address
    )


def _absent(details: str, address: str) -> TrunklineError:
    """Returns the error of a server that is not there, or not yet."""
    if _is_unknown_host(details) and is_balanced(address):
        # Of a name for servers that come and go, such as a headless Service's, none may be ready.
        return Unavailable(
            f"no server is there by the name in {address}: none is ready, or it is misspelt",
            reason=NO_SUCH_HOST,
            field="server",
            value=address,
        )
    if _is_unknown_host(details):
        return InvalidArgument(
            f"there is no host {address.rpartition(':')[0]!r}; check its spelling, or give its IP "
            "address",
            reason=NO_SUCH_HOST,
            field="server",
            limit="a host's name",
            value=address,
        )
    return Unavailable(
        f"no server answers at {address} ({_reason(details)}); start one with `trunkline serve`, "
        "or name the address of one that runs",
        field="server",
        value=address,
    )


def _is_unknown_host(details: str) -> bool:
    return any(words in details for words in _NOT_FOUND)


def _reason(details: str) -> str:
    known = (reason for words, reason in _ABSENT.items() if words in details)
    return next(known, details.rpartition("error: ")[2])


def _fault_of_tls(details: str, address: str) -> InvalidArgument | None:
    if (fault := _NOT_TRUSTED.search(details)) is not None:
        reason = "it is for another name" if fault["name"] else fault["reason"]
        return InvalidArgument(
            f"the certificate of the server at {address} is not trusted: {reason}; `ca` (--ca, "
            "TRUNKLINE_CA) names the authority that it is of",
            field="ca",
            value=address,
        )
    if _PLAIN in details:
        return InvalidArgument(
            f"what answers at {address} speaks no TLS; leave out https:// and the certificates",
            reason=NO_TLS,
            field="server",
            limit="HOST:PORT",
            value=address,
        )
    return None
