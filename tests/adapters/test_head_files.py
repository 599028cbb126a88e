"""Files of heads that are damaged or made to harm: refused, or a head with finite scores."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters import Head, InvalidWeights
from tests.adapters.head_files import (
    BIAS,
    WEIGHT,
    file,
    full,
)


def altered(name: str = "", value: str | None = None, **tensors: NDArray[Any] | None) -> bytes:
    """The file of `full()` with some metadata or tensors replaced or, if None, removed."""
    data = full().to_safetensors()
    arrays: dict[str, Any] = safetensors.numpy.load(data)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    for key, array in tensors.items():
        arrays[key.replace("_", ".")] = array
    if name:
        metadata[name] = value
    kept = {key: text for key, text in metadata.items() if text is not None}
    return safetensors.numpy.save({k: a for k, a in arrays.items() if a is not None}, kept)


def fields(**changes: object) -> str:
    """The metadata of a novelty bank."""
    given = {"neighbour": 2, "threshold": 0.3, "abstain": True, "false_alarm_rate": 0.05}
    return json.dumps({**given, **changes})


BANK = full().novelty.bank  # type: ignore[union-attr]


def raw(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


ATTACKS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "safetensors"),
    "no header": (b"\x08\x00\x00", "safetensors"),
    "pickle": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00", "safetensors"),
    "truncated header": (file()[:40], "safetensors"),
    "truncated body": (file()[:-4], "safetensors"),
    "trailing bytes": (file() + b"\0\0\0\0", "safetensors"),
    "length beyond the file": (raw(b"{}", length=4096), "safetensors"),
    "length of exabytes": (raw(b"{}", length=2**63), "safetensors"),
    "length too short": (struct.pack("<Q", 10) + file()[8:], "safetensors"),
    "huge header": (raw(b'{"a":"' + b"x" * 9_000_000 + b'"}'), "safetensors"),
    "no JSON": (raw(b"certainly not"), "safetensors"),
    "deep JSON": (raw(b"[" * 100_000), "safetensors"),
    "overlapping tensors": (
        raw(
            json.dumps(
                {
                    "weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
                    "bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                }
            ).encode(),
            b"\0" * 8,
        ),
        "safetensors",
    ),
    "negative shape": (
        raw(b'{"weight":{"dtype":"F32","shape":[-1,2],"data_offsets":[0,8]}}', b"\0" * 8),
        "safetensors",
    ),
    "no weight": (file(weight=None), "weight"),
    "no bias": (file(bias=None), "bias"),
    "stranger": (file(extra={"payload": np.zeros(4, np.float32)}), "safetensors"),
    "integers": (file(weight=WEIGHT.astype(np.int32)), "weight"),
    "half precision": (file(bias=BIAS.astype(np.float16)), "bias"),
    "nan weight": (file(weight=np.full_like(WEIGHT, np.nan)), "weight"),
    "infinite bias": (file(bias=np.full_like(BIAS, np.inf)), "bias"),
    "beyond float32": (file(weight=WEIGHT.astype(np.float64) * 1e300), "weight"),
    "flat weight": (file(weight=WEIGHT.ravel()), "weight"),
    "no classes": (
        file(weight=WEIGHT[:0], bias=BIAS[:0], labels="[]"),
        "weight",
    ),
    "one class": (file(weight=WEIGHT[:1], bias=BIAS[:1], labels='["bad"]'), "weight"),
    "no features": (file(weight=WEIGHT[:, :0]), "weight"),
    "bias as matrix": (file(bias=BIAS[:, None]), "bias"),
    "bias too long": (file(bias=np.zeros(3, np.float32)), "bias"),
    "too many labels": (file(labels='["a", "b", "c"]'), "labels"),
    "duplicate labels": (file(labels='["bad", "bad"]'), "labels"),
    "empty label": (file(labels='["bad", ""]'), "labels"),
    "labels of numbers": (file(labels="[1, 2]"), "labels"),
    "labels of lists": (file(labels='[["bad"], ["good"]]'), "labels"),
    "labels as object": (file(labels='{"bad": 0, "good": 1}'), "labels"),
    "labels no JSON": (file(labels="bad, good"), "labels"),
    "labels too deep": (file(labels="[" * 100_000), "labels"),
    "temperature zero": (file(temperature="0"), "temperature"),
    "temperature nan": (file(temperature="nan"), "temperature"),
    "temperature that overflows": (file(temperature="1e-300"), "temperature"),
    "temperature words": (file(temperature="warm"), "temperature"),
    "l2 negative": (file(l2="-1"), "l2"),
    "another backbone": (file(fingerprint="beef"), "fingerprint"),
    "class weights of zero": (altered("class_weights", '{"bad": 0}'), "class_weights[bad]"),
    "class weights of words": (altered("class_weights", '{"bad": "2"}'), "class_weights[bad]"),
    "class weights as list": (altered("class_weights", "[1, 2]"), "class_weights"),
    "labels of half a surrogate pair": (altered("labels", '["a", "\\ud800"]'), "labels"),
    "class weights of half a surrogate pair": (
        altered("class_weights", '{"\\ud800": 1}'),
        "class_weights",
    ),
    "class weights next to nothing": (
        altered("class_weights", '{"bad": 1e-300}'),
        "class_weights[bad]",
    ),
    "class weights beyond floats": (
        altered("class_weights", '{"bad": 1' + "0" * 400 + "}"),
        "class_weights[bad]",
    ),
    "class weights too deep": (altered("class_weights", "[" * 100_000), "class_weights"),
    "front without mean": (altered(front_mean=None), "front.mean"),
    "front without words": (altered("front"), "front"),
    "front of another size": (altered(front_mean=np.zeros(4, np.float32)), "front.scale"),
    "front wider than the weight": (
        altered(front_mean=np.zeros(4, np.float32), front_scale=np.ones(4, np.float32)),
        "weight",
    ),
    "front with a scale of zero": (altered(front_scale=np.zeros(3, np.float32)), "front.scale"),
    "front in double precision": (altered(front_mean=np.zeros(3)), "front.mean"),
    "front not finite": (altered(front_mean=np.full(3, np.nan, np.float32)), "front.mean"),
    "front as list": (altered("front", "[]"), "front"),
    "front unheard of": (
        altered("front", '{"kind": "teleport", "seed": 0, "width": 0, "unit": false}'),
        "front.kind",
    ),
    "front of exabytes": (
        altered("front", '{"kind": "projection", "seed": 0, "width": 1e18, "unit": false}'),
        "front.width",
    ),
    "front too wide": (
        altered("front", '{"kind": "projection", "seed": 0, "width": 9000, "unit": false}'),
        "front.width",
    ),
    "bank without words": (altered("novelty"), "novelty"),
    "words without bank": (altered(novelty_bank=None), "novelty.bank"),
    "bank in single precision": (
        altered(novelty_bank=BANK.astype(np.float32)),
        "novelty.bank",
    ),
    "bank of another size": (altered(novelty_bank=np.eye(4, dtype=np.float16)), "novelty.bank"),
    "bank of long vectors": (altered(novelty_bank=3 * BANK), "novelty.bank"),
    "bank not finite": (altered(novelty_bank=np.nan * BANK), "novelty.bank"),
    "bank of nothing": (altered(novelty_bank=BANK[:0]), "novelty.bank"),
    "flat bank": (altered(novelty_bank=BANK.ravel()), "novelty.bank"),
    "neighbour too far": (altered("novelty", fields(neighbour=5)), "novelty.neighbour"),
    "neighbour of a kind": (altered("novelty", fields(neighbour=1.5)), "novelty.neighbour"),
    "neighbour missing": (altered("novelty", "{}"), "novelty.neighbour"),
    "threshold of zero": (altered("novelty", fields(threshold=0)), "novelty.threshold"),
    "threshold next to nothing": (
        altered("novelty", fields(threshold=1e-39)),
        "novelty.threshold",
    ),
    "threshold beyond all distances": (
        altered("novelty", fields(threshold=2.1)),
        "novelty.threshold",
    ),
    "threshold nan": (altered("novelty", fields(threshold=np.nan)), "novelty.threshold"),
    "abstain in words": (altered("novelty", fields(abstain="no")), "novelty.abstain"),
    "rate of one": (altered("novelty", fields(false_alarm_rate=1)), "novelty.false_alarm_rate"),
    "scores without words": (altered("conformal"), "conformal"),
    "words without scores": (altered(conformal_scores=None), "conformal.scores"),
    "scores not sorted": (
        altered(conformal_scores=np.array([2, 1], np.float32)),
        "conformal.scores",
    ),
    "scores not finite": (
        altered(conformal_scores=np.array([1, np.inf], np.float32)),
        "conformal.scores",
    ),
    "too many scores": (altered(conformal_scores=np.zeros(1001, np.float32)), "conformal.scores"),
    "no scores": (altered(conformal_scores=np.zeros(0, np.float32)), "conformal.scores"),
    "sharpness missing": (altered("conformal", "{}"), "conformal.sharpness"),
    "sharpness infinite": (altered("conformal", '{"sharpness": Infinity}'), "conformal.sharpness"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_malformed_file_is_refused_with_its_field(attack: str) -> None:
    data, field = ATTACKS[attack]
    with pytest.raises(InvalidWeights) as caught:
        Head.from_safetensors(data, fingerprint="f00d")
    assert caught.value.field == field


@given(st.data(), st.sampled_from([file(), full().to_safetensors()]))
def test_damaged_file_is_refused_or_still_a_head(data: st.DataObject, whole: bytes) -> None:
    damaged = bytearray(whole)
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] = data.draw(st.integers(0, 255))
    try:
        head = Head.from_safetensors(bytes(damaged), fingerprint="f00d")
    except InvalidWeights:
        return
    rows = np.ones((1, head.dim))
    assert np.isfinite(head.probabilities(rows)).all()
    if head.novelty is not None:
        assert np.isfinite(head.novelty.scores(rows)).all()
    if head.conformal is not None:
        assert head.conformal.sets(head.logits(rows), 0.9).shape == (1, 2)


TENSORS = ("weight", "bias", "front_mean", "front_scale", "novelty_bank", "conformal_scores")

FLOATS = st.floats(width=32) | st.sampled_from([0.0, 1e-45, 1e-38, 1e-30, 1e30, 3.4e38, -3.4e38])

FIELDS = {
    "temperature": "",
    "l2": "",
    "class_weights": "bad",
    "front": "seed",
    "novelty": "threshold",
    "conformal": "sharpness",
}

NUMBERS = st.floats() | st.sampled_from([5e-324, 1e-39, 1e-30, 1e30, 1e39, 10**400]) | st.integers()


@given(st.sampled_from(TENSORS), FLOATS, st.integers(0, 2) | st.just(...))
def test_tensor_of_any_numbers_is_refused_or_answers_with_finite_ones(
    name: str, number: float, place: Any
) -> None:
    array = safetensors.numpy.load(full().to_safetensors())[name.replace("_", ".")].copy()
    with np.errstate(over="ignore"):
        array.reshape(-1)[place if place is ... else place % array.size] = number
    tensors: dict[str, Any] = {name: array}
    assert_refused_or_finite(altered(**tensors))


@given(st.sampled_from(sorted(FIELDS)), NUMBERS)
def test_field_of_any_number_is_refused_or_answers_with_finite_ones(
    name: str, number: float
) -> None:
    text = json.dumps(number)
    if name == "novelty":
        text = fields(threshold=number)
    elif name == "front":
        text = json.dumps({"kind": "standardise", "seed": number, "width": 0, "unit": False})
    elif FIELDS[name]:
        text = json.dumps({FIELDS[name]: number})
    assert_refused_or_finite(altered(name, text))


def assert_refused_or_finite(data: bytes) -> None:
    try:
        head = Head.from_safetensors(data, fingerprint="f00d")
    except InvalidWeights:
        return
    largest = np.finfo(np.float32).max
    rows = np.array([np.ones(head.dim), np.zeros(head.dim), np.full(head.dim, largest)], np.float32)
    assert np.isfinite(head.logits(rows)).all()
    assert head.probabilities(rows).sum(axis=1) == pytest.approx(1)
    if head.novelty is not None:
        assert np.isfinite(head.novelty.scores(rows)).all()
    if head.conformal is not None:
        assert head.conformal.sets(head.logits(rows), 0.9).shape == (len(rows), 2)
    again = Head.from_safetensors(head.to_safetensors())
    assert np.array_equal(again.logits(rows), head.logits(rows))


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidWeights):
        Head.from_safetensors(data, fingerprint="f00d")
