"""Tensors of the Open Inference Protocol, whichever way they come: raw, typed, or as JSON."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest

BYTES = "BYTES"
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "FP32": np.dtype("<f4"),
}
"""Of what models take and give, beside BYTES."""

_LENGTH = struct.Struct("<I")
MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Given:
    """A tensor as a client sends it.

    Attributes:
        raw: its bytes; None if it comes as values.
        values: numbers, strings or bytes, possibly in nested lists.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    raw: bytes | None = None
    values: Sequence[Any] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor as a client gets it.

    Attributes:
        values: elements of BYTES in row-major order, or an array.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[bytes] | NDArray[Any]

    def raw(self) -> bytes:
        """Returns the bytes that clients read: little-endian; of BYTES, each after its length."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype(DTYPES[self.datatype], copy=False).tobytes()
        return b"".join(_LENGTH.pack(len(value)) + value for value in self.values)

    def listed(self) -> list[Any]:
        """Returns the elements as JSON has them, flat."""
        if isinstance(self.values, np.ndarray):
            listed: list[Any] = self.values.reshape(-1).tolist()
            return listed
        return [value.decode("utf-8", "replace") for value in self.values]


def count_of(given: Given, most: int) -> int:
    """Returns how many elements a tensor has by its shape.

    Raises:
        InvalidRequest: the shape is none, or there are more than `most` elements.
    """
    shape = given.shape
    if not 1 <= len(shape) <= MAX_DIMENSIONS or any(size < 1 for size in shape):
        raise InvalidRequest.at(
            f"inputs.{given.name}.shape",
            "must be {limit}, is {value}",
            f"1 to {MAX_DIMENSIONS} numbers above 0",
            list(shape)[: MAX_DIMENSIONS + 1],
        )
    count = math.prod(shape)
    if count > most:
        raise InvalidRequest.at(
            f"inputs.{given.name}.shape", "at most {limit} elements, has {value}", most, count
        )
    return count


def elements_of(given: Given, count: int) -> list[bytes | str]:
    """Returns the elements of a tensor of BYTES.

    Raises:
        InvalidRequest: they are not as many as the shape says, or no strings.
    """
    if given.raw is not None:
        return list(_split(given, given.raw, count))
    values = _flat(given, count)
    for place, value in enumerate(values):
        if not isinstance(value, (str, bytes)):
            raise InvalidRequest.at(
                f"inputs.{given.name}.data[{place}]", "must be {limit}", "a string"
            )
    return values


def array_of(given: Given, count: int) -> NDArray[Any]:
    """Returns the numbers of a tensor in its shape.

    Raises:
        InvalidRequest: they do not fit its datatype or its shape.
    """
    dtype = DTYPES[given.datatype]
    if given.raw is not None:
        if len(given.raw) != count * dtype.itemsize:
            raise _wrong_size(given, f"{count * dtype.itemsize} bytes", len(given.raw))
        return np.frombuffer(given.raw, dtype).reshape(given.shape)
    values = _flat(given, count)
    whole = dtype.kind == "u"
    for place, value in enumerate(values):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not fits or (whole and not (isinstance(value, int) and 0 <= value <= 255)):
            raise InvalidRequest.at(
                f"inputs.{given.name}.data[{place}]", "must be a number of {limit}", given.datatype
            )
    with np.errstate(over="ignore"):  # what is too large for it is infinite, and costs its row
        return np.array(values, np.float64).astype(dtype).reshape(given.shape)


def _split(given: Given, raw: bytes, count: int) -> Iterator[bytes]:
    at = 0
    for _ in range(count):
        if at + _LENGTH.size > len(raw):
            break
        (size,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + size > len(raw):
            break
        yield raw[at : at + size]
        at += size
    else:
        if at == len(raw):
            return
    raise _wrong_size(given, f"{count} elements, each after its length", len(raw))


def _flat(given: Given, count: int) -> list[Any]:
    """Returns nested lists as one; at most one value more than there should be."""
    flat: list[Any] = []
    pending: list[Iterator[Any]] = [iter(given.values)]
    while pending and len(flat) <= count:
        for value in pending[-1]:
            if isinstance(value, list):
                pending.append(iter(value))
                break
            flat.append(value)
            if len(flat) > count:
                break
        else:
            pending.pop()
    if len(flat) != count:
        found = f"more than {count}" if len(flat) > count else str(len(flat))
        raise InvalidRequest.at(
            f"inputs.{given.name}.data", "must have the shape's {limit} elements, has {value}",
            count, found,
        )  # fmt: skip
    return flat


def _wrong_size(given: Given, wanted: str, size: int) -> InvalidRequest:
    return InvalidRequest.at(
        f"inputs.{given.name}.data",
        "must be, as the shape says, {limit}; has {value} bytes",
        wanted,
        size,
    )
