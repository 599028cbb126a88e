"""Weights that make no head are refused, and change nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save

from tests.e2e.bounds.checks import TENANT, assert_logged, assert_tells_no_secret
from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running
from tests.e2e.transports import (
    Refused,
    Transport,
)
from trunkline import Backbone
from trunkline.v1 import heads_pb2


def safetensors_file(header: object, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


def tensors(**arrays: object) -> bytes:
    return save({name: np.asarray(array) for name, array in arrays.items()})


WEIGHT, BIAS = np.ones((2, 384), np.float32), np.zeros(2, np.float32)
SPAN = {"dtype": "F32", "shape": [2, 384], "data_offsets": [0, 3072]}
BAD_WEIGHTS: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", []),
    "garbage": (b"\xff" * 100, []),
    "pickle": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os", []),
    "header longer than the file": ((2**62).to_bytes(8, "little") + b"{}", []),
    "header is no JSON": (safetensors_file(b"{]"), []),
    "header is nested deeply": (safetensors_file(b'{"a":' * 50_000), []),
    "header is a list": (safetensors_file([]), []),
    "offsets beyond the file": (safetensors_file({"weight": SPAN}), ["a", "b"]),
    "offsets overlap": (safetensors_file({"weight": SPAN, "bias": SPAN}, b"\0" * 3072), ["a", "b"]),
    "shape that overflows": (
        safetensors_file({"weight": {**SPAN, "shape": [2**62, 2**62]}}, b"\0" * 3072),
        ["a", "b"],
    ),
    "no bias": (tensors(weight=WEIGHT), ["a", "b"]),
    "other tensors": (tensors(weight=WEIGHT, bias=BIAS, extra=BIAS), ["a", "b"]),
    "integers": (tensors(weight=WEIGHT.astype(np.int64), bias=BIAS), ["a", "b"]),
    "wrong dimension": (tensors(weight=WEIGHT[:, :7], bias=BIAS), ["a", "b"]),
    "wrong axes": (tensors(weight=WEIGHT[0], bias=BIAS), ["a", "b"]),
    "wrong count of biases": (tensors(weight=WEIGHT, bias=np.zeros(3, np.float32)), ["a", "b"]),
    "NaN": (tensors(weight=WEIGHT * np.nan, bias=BIAS), ["a", "b"]),
    "no labels": (tensors(weight=WEIGHT, bias=BIAS), []),
    "too few labels": (tensors(weight=WEIGHT, bias=BIAS), ["a"]),
    "a label twice": (tensors(weight=WEIGHT, bias=BIAS), ["a", "a"]),
    "an empty label": (tensors(weight=WEIGHT, bias=BIAS), ["a", ""]),
    "a label too long": (tensors(weight=WEIGHT, bias=BIAS), ["a", "x" * 257]),
    "half a surrogate pair in the file": (
        save({"weight": WEIGHT, "bias": BIAS}, {"labels": '["a", "\\ud83d"]'}),
        [],
    ),
    "half a surrogate pair among class weights": (
        save({"weight": WEIGHT, "bias": BIAS}, {"class_weights": '{"\\udfff": 1}'}),
        ["a", "b"],
    ),
    "a family that moves the cursor": (
        save({"weight": WEIGHT, "bias": BIAS}, {"family": "\x1b[2J\u202e"}),
        ["a", "b"],
    ),
    "a family of many bytes": (
        save({"weight": WEIGHT, "bias": BIAS}, {"family": "\u6f22" * 22}),
        ["a", "b"],
    ),
    "one class": (tensors(weight=WEIGHT[:1], bias=BIAS[:1]), ["a"]),
    "too many classes": (
        tensors(weight=np.zeros((1001, 384), np.float32), bias=np.zeros(1001, np.float32)),
        [str(i) for i in range(1001)],
    ),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
@pytest.mark.usefixtures("_unchanged")
def test_bad_weights_are_refused(
    name: str, transport: Transport, backbones: dict[str, Backbone], server: Running
) -> None:
    data, labels = BAD_WEIGHTS[name]
    request = heads_pb2.ImportHeadRequest(
        parent=TENANT,
        head_id="imported",
        backbone=TEXTS,
        fingerprint=backbones[TEXTS].fingerprint,
        safetensors=data,
        labels=labels,
    )
    with pytest.raises(Refused) as refused:
        transport.call("ImportHead", request)
    assert refused.value.code == "INVALID_ARGUMENT", refused.value
    assert refused.value.field
    assert_tells_no_secret(refused.value.text)
    assert_logged(server, refused.value.request_id)


@pytest.mark.usefixtures("_unchanged")
def test_weights_for_another_fingerprint_are_refused(transport: Transport) -> None:
    request = heads_pb2.ImportHeadRequest(
        parent=TENANT,
        head_id="imported",
        backbone=TEXTS,
        fingerprint="f" * 64,
        safetensors=tensors(weight=WEIGHT, bias=BIAS),
        labels=["a", "b"],
    )
    with pytest.raises(Refused) as refused:
        transport.call("ImportHead", request)
    assert (refused.value.code, refused.value.field) == ("FAILED_PRECONDITION", "fingerprint")
    assert refused.value.value == "f" * 64
