"""Reads heads from safetensors files that are not trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from adapters.errors import InvalidWeights

SMALLEST, LARGEST = 1e-30, 1e30
"""Bounds of numbers that others are multiplied with or divided by: what they give stays finite."""

POSITIVE = f"from {SMALLEST:g} to {LARGEST:g}"

MAX_HEADER_BYTES = 8 * 1024 * 1024
"""Room for the labels of many thousand classes; the library itself would parse 100 MB."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_NEEDED = ("weight", "bias")
_EXPECTED = {
    "weight": ("F32", "F64"),
    "bias": ("F32", "F64"),
    "front.mean": ("F32",),
    "front.scale": ("F32",),
    "novelty.bank": ("F16",),
    "conformal.scores": ("F32",),
}
"""Tensors that may be in a file, and their types."""


def parse(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        InvalidWeights: if the file is malformed, or lacks a tensor or has one too many.
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
    for name in _NEEDED:
        if name not in entries:
            raise InvalidWeights(f"tensor {name!r} is missing", field=name)
    for name, entry in entries.items():
        if name not in _EXPECTED:
            raise InvalidWeights(f"tensor {name[:64]!r} is not expected", field="safetensors")
        allowed = " or ".join(_EXPECTED[name])
        if entry["dtype"] not in _EXPECTED[name]:
            raise InvalidWeights.at(
                name, "tensor {field!r} is {value}, expected {limit}", allowed, entry["dtype"]
            )
    tensors = {
        name: np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries.items()
    }
    return tensors, metadata


def parse_object(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return the JSON object under a name; its values are not checked yet.

    Raises:
        InvalidWeights: if there is none.
    """
    try:
        value = json.loads(metadata[name])
    except KeyError as error:
        raise InvalidWeights(f"metadata {name!r} is missing", field=name) from error
    except (ValueError, RecursionError) as error:
        raise InvalidWeights(f"metadata {name!r} is not JSON", field=name) from error
    if not isinstance(value, dict):
        raise InvalidWeights(f"metadata {name!r} is not a JSON object", field=name)
    return value


def is_positive(value: object) -> bool:
    """Return whether a value is a number within `SMALLEST` and `LARGEST`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return SMALLEST <= value <= LARGEST


def is_text(value: object) -> bool:
    """Return whether a value is a string that UTF-8 can carry, of at least one character.

    JSON can write half a surrogate pair, which is no text.
    """
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:
        return False


def expect(good: bool, field: str, limit: str, value: object) -> None:
    """Raise `InvalidWeights` unless all is good."""
    if not good:
        shown = str(value)[:64]
        raise InvalidWeights.at(field, "{field} must be {limit}, is {value}", limit, shown)


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
