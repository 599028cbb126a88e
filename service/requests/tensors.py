"""Arrays from and to tensors on the wire."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest
from trunkline.v1 import common_pb2

FLOAT_BYTES = 4
"""Size of a float32, and of a uint32."""

_DTYPE_NAMES = {
    np.dtype(name): name for name in ("uint8", "uint32", "int64", "float16", "float32", "float64")
}


def to_tensor(array: NDArray[np.generic]) -> common_pb2.Tensor:
    """Packs an array little-endian, row-major."""
    little = array if sys.byteorder == "little" else array.byteswap()
    return common_pb2.Tensor(
        dtype=_DTYPE_NAMES[array.dtype], shape=array.shape, data=little.tobytes()
    )


def from_tensor(
    tensor: common_pb2.Tensor, *, field: str, dtypes: tuple[str, ...]
) -> NDArray[np.generic]:
    """Unpacks an array without copying it.

    Raises:
        InvalidRequest: the dtype is not among `dtypes`, or shape and data do not fit.
    """
    if tensor.dtype not in dtypes:
        raise InvalidRequest.at(
            f"{field}.dtype", "must be {limit}, is {value!r}", " or ".join(dtypes), tensor.dtype
        )
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    shape = tuple(tensor.shape)
    size = dtype.itemsize
    for length in shape:
        size *= length
    if len(shape) > 4 or size != len(tensor.data):
        raise InvalidRequest(
            f"{field}.data: shape {list(shape)[:4]} of {tensor.dtype} takes {size} bytes, "
            f"has {len(tensor.data)}",
            field=f"{field}.data",
            limit=size,
            value=len(tensor.data),
        )
    return np.frombuffer(tensor.data, dtype=dtype).reshape(shape)
