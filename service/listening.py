"""The sockets that servers listen on."""

from __future__ import annotations

import socket

from service.errors import StartupError


def listen(host: str, port: int, name: str, *, shared: bool = False) -> socket.socket:
    """Binds a socket; it listens once something serves on it.

    Args:
        name: of what it is for.
        shared: whether other processes of this user may bind the same port, to take turns with
            its connections.

    Raises:
        StartupError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only on sockets that say they are TCP's; with it, every
    # reply on a kept-alive connection waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(f"{name} cannot listen on {host}:{port}: {error.strerror}") from error
    return listener
