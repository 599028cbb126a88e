"""HTTP/2 by hand, for clients as no library makes them: they stop midway, or read nothing."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
FRAME_BYTES = 16_384


class RawHttp2:
    """One connection to a gRPC server.

    Args:
        address: ``host:port`` or ``unix:PATH``.
        window: bytes of a reply that the server may send before it has to wait for ever.
    """

    def __init__(self, address: str, window: int = 65_535) -> None:
        host, _, port = address.rpartition(":")
        if host == "unix":
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(60)
            self._socket.connect(port)
        else:
            self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=60)
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
        self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
        self._stream = -1
        self._first_window = 65_535
        self._windows: Counter[int] = Counter({0: 65_535})
        self.settings: dict[int, int] = {}
        self.ended: dict[int, bytes] = {}
        """The last headers of streams that the server ended, in its own coding."""
        self.resets: set[int] = set()
        """Streams that it broke off, whether they had ended or not."""

    def open(self, path: str | bytes, more: Mapping[str, bytes] | None = None) -> int:
        """Sends the headers of a call, and these more; gives its stream."""
        self._stream += 2
        fields: dict[str, str | bytes] = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "localhost",
            "content-type": "application/grpc",
            "te": "trailers",
            **(more or {}),
        }
        block = b"".join(literal(name) + literal(value, b"") for name, value in fields.items())
        self._socket.sendall(frame(HEADERS, END_HEADERS, self._stream, block))
        return self._stream

    def send(self, stream: int, message: bytes, *, announced: int | None = None) -> None:
        """Sends a message, or the beginning of one that is announced to have more bytes.

        It ends early, without an error, when the server ends the stream.
        """
        size = len(message) if announced is None else announced
        left = memoryview(struct.pack(">BI", 0, size) + message)
        while left and stream not in self.ended:
            room = min(
                self._windows[0], self._first_window + self._windows[stream], FRAME_BYTES, len(left)
            )
            if room <= 0:
                self._take_frame()
                continue
            self._socket.sendall(frame(DATA, 0, stream, bytes(left[:room])))
            self._windows.subtract({0: room, stream: room})
            left = left[room:]

    def finish(self, stream: int) -> None:
        """Says that nothing more comes on it."""
        self._socket.sendall(frame(DATA, END_STREAM, stream, b""))

    def wait_for_end(self, stream: int) -> bytes:
        """Reads until the server ends a stream; gives its last headers, in HTTP/2's coding."""
        while stream not in self.ended:
            self._take_frame()
        return self.ended[stream]

    def wait_until_closed(self) -> None:
        """Reads until the server closes the connection."""
        with suppress(ConnectionError):
            while True:
                self._take_frame()

    def close(self) -> None:
        """Leaves; whoever reads in another thread hears of it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_frame(self) -> None:
        length, kind, flags, stream = struct.unpack(">IBBI", b"\0" + self._exactly(9))
        payload = self._exactly(length)
        if kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                self.settings[name] = value
                if name == INITIAL_WINDOW_SIZE:
                    self._first_window = value
            self._socket.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._socket.sendall(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            self._windows[stream] += struct.unpack(">I", payload)[0]
        elif kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
            self.ended[stream] = payload
            if kind == RST_STREAM:
                self.resets.add(stream)

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            part = self._socket.recv(count - len(received))
            if not part:
                raise ConnectionError("the server closed the connection")
            received += part
        return received


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(text: str | bytes, prefix: bytes = b"\x00") -> bytes:
    """A string of a header that is not indexed (RFC 7541, section 6.2.2), of at most 126 bytes."""
    data = text.encode() if isinstance(text, str) else text
    return prefix + bytes([len(data)]) + data
