"""Short messages between the serving processes of one machine, which may be lost.

They go over Unix sockets in a folder that no other user can look into. What is lost costs time
alone: whoever must not miss a thing reads it from the store.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_BYTES = 64 * 1024
"""Of one message."""
WAITING = 1024 * 1024
"""Bytes of messages that the kernel keeps for a process that is slow."""


class Siblings:
    """Sends messages to the others, and hands theirs to whoever listens to their kind.

    Args:
        name: of this process, as the others know it.
    """

    def __init__(self, folder: Path, name: str, others: Sequence[str]) -> None:
        self._others = [str(folder / f"{other}.messages") for other in others]
        self._listeners: dict[str, Callable[[Any], None]] = {}
        path = folder / f"{name}.messages"
        path.unlink(missing_ok=True)  # of one that was killed
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WAITING)
        self._socket.bind(str(path))

    def listen(self, kind: str, listener: Callable[[Any], None]) -> None:
        """Has a listener told what messages of a kind carry."""
        self._listeners[kind] = listener

    def start(self) -> None:
        """Begins to hear the others."""
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def send(self, kind: str, content: object = None) -> None:
        """Sends a message to all others; one that is away, or hangs, does not get it."""
        data = json.dumps([kind, content]).encode()
        for other in self._others:
            with suppress(OSError):
                self._socket.sendto(data, other)

    def close(self) -> None:
        """Stops to hear them."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _receive(self) -> None:
        heard: dict[str, list[Any]] = {}
        with suppress(BlockingIOError):
            while True:
                kind, content = json.loads(self._socket.recv(MAX_BYTES))
                heard.setdefault(kind, []).append(content)
        for kind, contents in heard.items():
            if (listener := self._listeners.get(kind)) is not None:
                for content in contents[-1:] if contents[-1] is None else contents:
                    listener(content)
