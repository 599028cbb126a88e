"""Why a server cannot be reached, in words that say what to do.

gRPC says it in a sentence of its own, and retries whatever it is. Here what waiting can mend is
`Unavailable`, and what it cannot, a wrong address, `InvalidArgument`.
"""

import re

from trunkline.errors import InvalidArgument, TrunklineError, Unavailable

_NO_SUCH_HOST = ("Domain name not found", "Misformatted domain name")
_OTHER_PROTOCOL = "Failed parsing HTTP/2"
_ABSENT = {
    "Connection refused": "connection refused",
    "No such file or directory": "there is no such socket",
    "attempt timed out": "no answer in time",
    "Connection reset": "connection reset",
    "No route to host": "no route to the host",
    "Network is unreachable": "the network is unreachable",
}
_UNCONNECTED = re.compile("failed to connect to all addresses|errors resolving|DNS resolution")


def unreachable(details: str, address: str) -> TrunklineError | None:
    """Returns the error that gRPC's own `details` of an UNAVAILABLE call stand for.

    None where a server was reached, or the reason is not known here.
    """
    if not _UNCONNECTED.search(details):
        return None
    if _OTHER_PROTOCOL in details:
        return InvalidArgument(
            f"what answers at {address} does not speak gRPC; is it the port of REST? "
            "The server prints both addresses when it starts",
            field="server",
            limit="the address of gRPC",
            value=address,
        )
    if any(words in details for words in _NO_SUCH_HOST):
        host = address.rpartition(":")[0]
        return InvalidArgument(
            f"there is no host {host!r}", field="server", limit="a host's name", value=address
        )
    for words, reason in _ABSENT.items():
        if words in details:
            return Unavailable(
                f"no server answers at {address} ({reason}); start one with `trunkline serve`, "
                "or name the address of one that runs",
                field="server",
                value=address,
            )
    return None
