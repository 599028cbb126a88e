"""Frames between the server and its child processes: a JSON header and arrays, no pickle."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

PREFIX = struct.Struct("<IQ")
"""Lengths of the header and of the payload, little-endian."""

ALIVE = {"alive": True}
"""Header of a frame that says nothing but that the process computes."""

ALIGNMENT = 8
"""Every array of a payload begins at a multiple of it."""

Parts = Sequence[bytes | memoryview]
"""A frame as it is written, one part after the other."""

Frame = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""A frame as it is read: its header, and its arrays by name."""

_NO_ARRAYS: Mapping[str, Any] = MappingProxyType({})


def pack(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any] | bytes | None] = _NO_ARRAYS
) -> Parts:
    """Packs a frame without copies of its arrays; its header says how they lie.

    Args:
        arrays: by name; bytes become an array of uint8, and what is None is left out.
    """
    layout: dict[str, Any] = {}
    parts: list[memoryview] = []
    for name, given in arrays.items():
        if given is None:
            continue
        array = np.frombuffer(given, np.uint8) if isinstance(given, bytes) else given
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        layout[name] = {"dtype": little.dtype.str, "shape": little.shape}
        parts += [
            little.reshape(-1).view(np.uint8).data,
            memoryview(_padding(little.nbytes)),
        ]
    text = json.dumps({**header, "arrays": layout}).encode()
    return [PREFIX.pack(len(text), sum(map(len, parts))) + text, *parts]


def unpack(text: bytes, payload: bytes) -> Frame:
    """Unpacks header and payload of a frame, without copies of its arrays."""
    header = json.loads(text)
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    for name, form in header.pop("arrays").items():
        count = math.prod(form["shape"])
        array = np.frombuffer(payload, form["dtype"], count, start).reshape(form["shape"])
        arrays[name] = array
        start += array.nbytes + len(_padding(array.nbytes))
    return header, arrays


def read(stream: BinaryIO) -> Frame | None:
    """Reads the next frame of a blocking stream, or None at its end."""
    prefix = stream.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    header_length, payload_length = PREFIX.unpack(prefix)
    text = stream.read(header_length)
    payload = stream.read(payload_length)
    if len(text) < header_length or len(payload) < payload_length:
        return None
    return unpack(text, payload)


def _padding(size: int) -> bytes:
    return bytes(-size % ALIGNMENT)
