"""Files of tails: what a tenant's fine-tuning changed in a backbone, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from blake3 import blake3
from numpy.typing import NDArray

from models.errors import InvalidTail

FORMAT = "trunkline-tail-1"
_CONTEXT = "trunkline v1 tail fingerprint"
_UNREADABLE = (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError)


@dataclass(frozen=True, eq=False)
class TailFile:
    """What a tail's file says.

    Attributes:
        backbone: fingerprint of the backbone that it belongs to.
        whole: whether it begins at the input rather than at the cut.
        tensors: parameters, float32, by their names in the library's own network; those that are
            not named are the backbone's, and so are all statistics.
    """

    backbone: str
    whole: bool
    tensors: Mapping[str, NDArray[np.float32]]


def write_tail(backbone: str, tensors: Mapping[str, NDArray[Any]], *, whole: bool) -> bytes:
    """Return a safetensors file; the same tensors give the same bytes."""
    arrays = {
        name: np.ascontiguousarray(tensors[name], dtype=np.float32) for name in sorted(tensors)
    }
    # One entry: safetensors writes the entries of the metadata in no fixed order.
    facts = json.dumps({"backbone": backbone, "whole": whole}, sort_keys=True)
    return bytes(safetensors.numpy.save(arrays, metadata={FORMAT: facts}))


def read_tail(data: bytes) -> TailFile:
    """Read what `write_tail` wrote.

    Raises:
        InvalidTail: it is no such file, or a number in it is not finite.
    """
    try:
        stored = safetensors.deserialize(data)
        size = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][FORMAT])
        backbone, whole = facts["backbone"], facts["whole"]
    except _UNREADABLE as error:
        raise InvalidTail(f"these {len(data)} bytes hold no tail: {error!r}") from error
    if not isinstance(backbone, str) or not isinstance(whole, bool):
        raise InvalidTail(f"these {len(data)} bytes do not say whose tail they hold")
    return TailFile(backbone, whole, {name: _tensor(name, **it) for name, it in stored})


def _tensor(name: str, dtype: str, shape: list[int], data: bytearray) -> NDArray[np.float32]:
    if dtype != "F32":
        raise InvalidTail(f"tensor {name[:200]} of the tail must be F32, not {dtype}")
    tensor = np.frombuffer(data, np.dtype("<f4")).reshape(shape)
    if not np.isfinite(tensor).all():
        raise InvalidTail(f"tensor {name[:200]} of the tail holds numbers that are not finite")
    return tensor


def tail_fingerprint(data: bytes) -> str:
    """Return 64 hex digits over a tail's file, which names its backbone."""
    return blake3(data, derive_key_context=_CONTEXT).hexdigest()
