"""Packed arrays, without numpy: the wire is little-endian, the host may not be."""

import ctypes
import math
import struct
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trunkline.errors import DataLoss, InvalidArgument
from trunkline.v1 import common_pb2

_TYPECODES = {"uint8": "B", "uint32": "I", "float32": "f", "float64": "d"}
_NATIVE = "<" if sys.byteorder == "little" else ">"


@dataclass(frozen=True)
class Block:
    """The bytes of an array, row-major, with their `struct` type ("f", "B", …) and byte order."""

    shape: tuple[int, ...]
    type: str
    order: str
    data: bytes


def block(values: Any) -> Block:
    """Reads whatever carries an array.

    That is: the buffer protocol, `__array_interface__` (version 3), `__array__()`, or an iterable
    of numbers (one dimension). Raises `InvalidArgument` where there is none of them.
    """
    try:
        return _from_buffer(memoryview(values))
    except TypeError:
        pass
    interface = getattr(values, "__array_interface__", None)
    if isinstance(interface, dict):
        return _from_interface(interface)
    if hasattr(values, "__array__"):
        return _from_buffer(memoryview(values.__array__()))
    if isinstance(values, Iterable) and not isinstance(values, str):
        try:
            numbers = array("d", values)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidArgument(f"not an array of numbers: {error}", field="input") from error
        return Block((len(numbers),), "d", _NATIVE, numbers.tobytes())
    raise InvalidArgument(f"not an array: {type(values).__name__}", field="input")


def pack_float32(values: Block) -> bytes:
    """Packs the values as little-endian float32. Raises `InvalidArgument` if they do not fit."""
    count = math.prod(values.shape)
    if values.type == "f" and values.order == "<":
        return values.data
    try:
        numbers = struct.unpack(f"{values.order}{count}{values.type}", values.data)
        return struct.pack(f"<{count}f", *numbers)
    except (struct.error, OverflowError) as error:
        raise InvalidArgument(f"not an array of floats: {error}", field="input") from error


def unpack(tensor: common_pb2.Tensor, dtype: str, dimensions: int) -> "array[Any]":
    """Reads the values of a tensor of the reply, flat, in the host's byte order.

    Raises `DataLoss` if the tensor has another dtype, or a shape that does not fit its data.
    """
    values = array(_TYPECODES[dtype])
    fits = len(tensor.shape) == dimensions and tensor.dtype == dtype
    if not fits or math.prod(tensor.shape) * values.itemsize != len(tensor.data):
        given = f"{tensor.dtype} {list(tensor.shape)} in {len(tensor.data)} bytes"
        raise DataLoss(f"expected a {dtype} tensor of {dimensions} dimensions, got {given}")
    values.frombytes(tensor.data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _from_buffer(view: memoryview) -> Block:
    order, kind = _order_and_type(view.format)
    return Block(view.shape or (), kind, order, view.tobytes())


def _order_and_type(spec: str) -> tuple[str, str]:
    """Splits a buffer's format, e.g. ">f" or "d", into byte order and type."""
    if spec[0] in "<>!=@":
        return {"!": ">", "<": "<", ">": ">"}.get(spec[0], _NATIVE), spec[1:]
    return _NATIVE, spec


def _from_interface(interface: dict[str, Any]) -> Block:
    shape = tuple(interface["shape"])
    order, kind, size = interface["typestr"][0], interface["typestr"][1], interface["typestr"][2:]
    types = {"u1": "B", "f2": "e", "f4": "f", "f8": "d"}
    if kind + size not in types or interface.get("strides") is not None:
        raise InvalidArgument(
            f"unsupported array: {interface['typestr']}, shape {list(shape)}", field="input"
        )
    data = interface["data"]
    if isinstance(data, tuple):
        data = ctypes.string_at(data[0], math.prod(shape) * int(size))
    return Block(shape, types[kind + size], ">" if order == ">" else "<", bytes(data))
