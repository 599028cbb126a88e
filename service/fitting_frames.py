"""Frames between the server and its training process: a JSON header and raw bytes, no pickle."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

PREFIX = struct.Struct("<IQ")
"""Lengths of the header and of the payload, little-endian."""


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One frame."""
    return pack_header(header, len(payload)) + payload


def pack_header(header: dict[str, Any], payload_length: int) -> bytes:
    """A frame up to its payload, which the caller sends after it."""
    text = json.dumps(header).encode()
    return PREFIX.pack(len(text), payload_length) + text


def read(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next frame of a blocking stream, or None at its end."""
    prefix = stream.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    header_length, payload_length = PREFIX.unpack(prefix)
    header = stream.read(header_length)
    payload = stream.read(payload_length)
    if len(header) < header_length or len(payload) < payload_length:
        return None
    return json.loads(header), payload
