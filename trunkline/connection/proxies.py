"""Proxies of the environment, which gRPC uses as curl and browsers do."""

import os

from trunkline.connection.addresses import host_and_port

_LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:")
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def is_on_this_machine(address: str) -> bool:
    """Returns whether an address leads back to this machine, where no proxy leads to."""
    return host_and_port(address).startswith(_LOOPBACK)


def proxy_variable(address: str) -> str | None:
    """Returns the variable that makes gRPC go to an address through a proxy, None without one.

    Ranges of addresses in `no_proxy` are not looked at.
    """
    host = host_and_port(address).rpartition(":")[0].strip("[]").lower()
    around = next(filter(None, map(os.environ.get, _EXCEPTIONS)), "").lower()
    endings = tuple(ending.strip() for ending in around.split(",") if ending.strip())
    if is_on_this_machine(address) or host.endswith(endings):
        return None
    return next((name for name in _PROXIES if os.environ.get(name)), None)
