"""Bodies of the Open Inference Protocol over REST, with its extension for binary tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import InvalidRequest
from service.transport.json_text import read_object
from service.transport.protocols.oip.asking import Inference, Wanted
from service.transport.protocols.oip.tensors import Given, Output

HEADER_LENGTH = "inference-header-content-length"
"""Bytes of the JSON before the tensors of a body; without it the body is JSON alone."""

_DIGITS = re.compile("[0-9]{1,20}")
_HALF = re.compile("[\ud800-\udfff]")
MAX_ID_CHARACTERS = 256
MAX_CLASSES = 1_000_000


def read_inference(body: bytes, header_length: str | None, max_parts: int) -> Inference:
    """Reads a request.

    Raises:
        InvalidRequest: naming what is wrong with it.
    """
    size = len(body) if header_length is None else _header_size(header_length, len(body))
    data = read_object(body[:size], max_parts)
    parameters = _object(data, "parameters")
    inputs = _objects(data, "inputs")
    blobs = body[size:] if header_length is not None else b""
    given, at = [], 0
    for place, entry in enumerate(inputs):
        tensor, at = _read_input(f"inputs[{place}]", entry, blobs, at)
        given.append(tensor)
    if at != len(blobs):
        raise InvalidRequest.at(
            "body", "the binary tensors have {limit} bytes by their sizes, the body {value}",
            at, len(blobs),
        )  # fmt: skip
    binary = _boolean(parameters, "parameters", "binary_data_output")
    wanted = [
        _read_wanted(f"outputs[{place}]", entry, binary)
        for place, entry in enumerate(_objects(data, "outputs"))
    ]
    return Inference(_read_id(data), given, wanted, parameters)


def write_inference(
    model_name: str, version: str, inference: Inference, outputs: Sequence[Output]
) -> tuple[bytes, int | None]:
    """Returns a body, and the size of its JSON if tensors follow that."""
    binary = {wanted.name: wanted.binary for wanted in inference.wanted}
    default = inference.parameters.get("binary_data_output") is True
    told: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for output in outputs:
        entry = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if binary.get(output.name, default):
            blobs.append(output.raw())
            told.append({**entry, "parameters": {"binary_data_size": len(blobs[-1])}})
        else:
            told.append({**entry, "data": output.listed()})
    answer = {"model_name": model_name, "model_version": version, "outputs": told}
    if inference.id:
        answer["id"] = inference.id
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return b"".join([text, *blobs]), len(text) if blobs else None


def _header_size(text: str, most: int) -> int:
    if not _DIGITS.fullmatch(text) or int(text) > most:
        raise InvalidRequest.at(
            HEADER_LENGTH, "must be {limit}, is {value!r}", f"a number up to {most}", text
        )
    return int(text)


def _read_id(data: Mapping[str, Any]) -> str:
    text = data.get("id", "")
    fits = isinstance(text, str) and len(text) <= MAX_ID_CHARACTERS and not _HALF.search(text)
    if not fits:
        raise InvalidRequest.at("id", "must be {limit}", f"text of {MAX_ID_CHARACTERS} characters")
    return str(text)


def _read_input(path: str, entry: Mapping[str, Any], blobs: bytes, at: int) -> tuple[Given, int]:
    name, datatype = _text(entry, path, "name"), _text(entry, path, "datatype")
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise InvalidRequest.at(f"{path}.shape", "must be {limit}", "a list of whole numbers")
    parameters = _object(entry, "parameters", path)
    size = parameters.get("binary_data_size")
    if size is None:
        values = entry.get("data")
        if not isinstance(values, list):
            raise InvalidRequest.at(f"{path}.data", "must be {limit}", "a list")
        return Given(name, datatype, shape, None, values, parameters), at
    if type(size) is not int or not 0 <= size <= len(blobs) - at:
        left = f"a number up to the {len(blobs) - at} bytes that are left"
        raise InvalidRequest.at(f"{path}.parameters.binary_data_size", "must be {limit}", left)
    if "data" in entry:
        raise InvalidRequest.at(path, "takes {limit}, has both", "data or binary_data_size")
    return Given(name, datatype, shape, blobs[at : at + size], (), parameters), at + size


def _read_wanted(path: str, entry: Mapping[str, Any], binary: bool | None) -> Wanted:
    parameters = _object(entry, "parameters", path)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= MAX_CLASSES:
        raise InvalidRequest.at(
            f"{path}.parameters.classification", "must be {limit}", f"from 0 to {MAX_CLASSES}"
        )
    own = _boolean(parameters, f"{path}.parameters", "binary_data")
    return Wanted(_text(entry, path, "name"), classes, binary if own is None else own)


def _boolean(data: Mapping[str, Any], path: str, name: str) -> bool | None:
    value = data.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise InvalidRequest.at(f"{path}.{name}", "must be {limit}", "true or false")


def _text(entry: Mapping[str, Any], path: str, name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise InvalidRequest.at(f"{path}.{name}", "must be {limit}", "a string")
    return value


def _object(data: Mapping[str, Any], name: str, path: str = "") -> Mapping[str, Any]:
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest.at(f"{path}.{name}".lstrip("."), "must be {limit}", "an object")
    return value


def _objects(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = data.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InvalidRequest.at(name, "must be {limit}", "a list of objects")
    return value
