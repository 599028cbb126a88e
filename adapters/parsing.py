"""Reading heads from safetensors files that are trusted in nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from adapters.errors import InvalidWeights

MAX_HEADER_BYTES = 8 * 1024 * 1024
"""Room for the labels of many thousand classes; the library itself would parse 100 MB."""

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def parse(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the tensors "weight" and "bias" and the metadata of a safetensors file.

    Raises:
        InvalidWeights: if the file is malformed, or holds other tensors than these two.
    """
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise InvalidWeights(
            f"the safetensors header claims {length} bytes, at most {MAX_HEADER_BYTES} are allowed",
            field="safetensors",
            limit=MAX_HEADER_BYTES,
            value=length,
        )
    try:
        entries: dict[str, Any] = dict(safetensors.deserialize(data))
    except safetensors.SafetensorError as error:
        raise InvalidWeights(f"not a safetensors file: {error}", field="safetensors") from error
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    for name in ("weight", "bias"):
        if name not in entries:
            raise InvalidWeights(f"tensor {name!r} is missing", field=name)
    for name, entry in entries.items():
        if name not in ("weight", "bias"):
            raise InvalidWeights(f"tensor {name[:64]!r} is not expected", field="safetensors")
        if entry["dtype"] not in _DTYPES:
            raise InvalidWeights(
                f"tensor {name!r} is {entry['dtype']}, expected F32 or F64",
                field=name,
                limit="F32 or F64",
                value=entry["dtype"],
            )
    tensors = {
        name: np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries.items()
    }
    return tensors, metadata


def parse_labels(metadata: dict[str, str]) -> tuple[str, ...]:
    """Return the entries of the JSON list under "labels"; they are not checked yet.

    Raises:
        InvalidWeights: if there is no such list.
    """
    try:
        labels = json.loads(metadata["labels"])
    except KeyError as error:
        raise InvalidWeights(
            "labels are missing: neither given nor in the metadata", field="labels"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidWeights("metadata 'labels' is not JSON", field="labels") from error
    if not isinstance(labels, list):
        raise InvalidWeights("metadata 'labels' is not a JSON list", field="labels")
    return tuple(labels)


def parse_number(metadata: dict[str, str], name: str, default: str = "") -> float:
    """Return the number under a name.

    Raises:
        InvalidWeights: if it is none.
    """
    try:
        return float(metadata.get(name, default))
    except ValueError as error:
        raise InvalidWeights(f"metadata {name!r} is not a number", field=name) from error
