"""Frames between the server and its child processes: a JSON header and raw bytes, no pickle."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

PREFIX = struct.Struct("<IQ")
"""Lengths of the header and of the payload, little-endian."""

ALIVE = {"alive": True}
"""Header of a frame that says nothing but that the process computes."""

ALIGNMENT = 8
"""Every array of a payload begins at a multiple of it."""


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Packs one frame."""
    return _pack_header(header, len(payload)) + payload


def pack_arrays(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]
) -> list[bytes | memoryview]:
    """Packs a frame with arrays, without copies, in parts; its header says how they lie."""
    layout: dict[str, Any] = {}
    parts: list[memoryview] = []
    for name, array in arrays.items():
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        layout[name] = {"dtype": little.dtype.str, "shape": little.shape}
        parts += [
            little.reshape(-1).view(np.uint8).data,
            memoryview(_padding(little.nbytes)),
        ]
    return [_pack_header({**header, "arrays": layout}, sum(map(len, parts))), *parts]


def unpack_arrays(header: Mapping[str, Any], payload: bytes) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a frame, without copies."""
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    for name, form in header["arrays"].items():
        count = math.prod(form["shape"])
        array = np.frombuffer(payload, form["dtype"], count, start).reshape(form["shape"])
        arrays[name] = array
        start += array.nbytes + len(_padding(array.nbytes))
    return arrays


def read(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Reads the next frame of a blocking stream, or None at its end."""
    prefix = stream.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    header_length, payload_length = PREFIX.unpack(prefix)
    header = stream.read(header_length)
    payload = stream.read(payload_length)
    if len(header) < header_length or len(payload) < payload_length:
        return None
    return json.loads(header), payload


def _pack_header(header: dict[str, Any], payload_length: int) -> bytes:
    text = json.dumps(header).encode()
    return PREFIX.pack(len(text), payload_length) + text


def _padding(size: int) -> bytes:
    return bytes(-size % ALIGNMENT)
