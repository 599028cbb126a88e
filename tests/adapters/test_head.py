"""A head scores, is checked, and travels as safetensors that are trusted in nothing."""

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
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from adapters import Head, InvalidEmbeddings, InvalidWeights

WEIGHT = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.25]], np.float32)
BIAS = np.array([0.1, -0.2], np.float32)
LABELS = json.dumps(["bad", "good"])


def file(
    weight: NDArray[Any] | None = WEIGHT,
    bias: NDArray[Any] | None = BIAS,
    extra: dict[str, NDArray[Any]] | None = None,
    **metadata: str,
) -> bytes:
    given = {"weight": weight, "bias": bias, **(extra or {})}
    tensors = {name: array for name, array in given.items() if array is not None}
    return safetensors.numpy.save(tensors, metadata={"labels": LABELS, **metadata})


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
    "temperature words": (file(temperature="warm"), "temperature"),
    "l2 negative": (file(l2="-1"), "l2"),
    "another backbone": (file(fingerprint="beef"), "fingerprint"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_malformed_file_is_refused_with_its_field(attack: str) -> None:
    data, field = ATTACKS[attack]
    with pytest.raises(InvalidWeights) as caught:
        Head.from_safetensors(data, fingerprint="f00d")
    assert caught.value.field == field


@given(st.data())
def test_damaged_file_is_refused_or_still_a_head(data: st.DataObject) -> None:
    damaged = bytearray(file())
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] = data.draw(st.integers(0, 255))
    try:
        head = Head.from_safetensors(bytes(damaged), fingerprint="f00d")
    except InvalidWeights:
        return
    assert np.isfinite(head.probabilities(np.ones((1, head.dim)))).all()


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidWeights):
        Head.from_safetensors(data, fingerprint="f00d")


def test_labels_are_needed_from_somewhere() -> None:
    data = safetensors.numpy.save({"weight": WEIGHT, "bias": BIAS})
    with pytest.raises(InvalidWeights, match="labels are missing"):
        Head.from_safetensors(data, fingerprint="f00d")
    head = Head.from_safetensors(data, labels=["x", "y"], fingerprint="f00d")
    assert head.labels == ("x", "y")


def test_fingerprint_is_needed_from_somewhere() -> None:
    with pytest.raises(InvalidWeights, match="fingerprint") as caught:
        Head.from_safetensors(file())
    assert caught.value.field == "fingerprint"
    assert Head.from_safetensors(file(fingerprint="f00d")).fingerprint == "f00d"


def test_dimension_of_the_backbone_is_checked() -> None:
    with pytest.raises(InvalidWeights) as caught:
        Head.from_safetensors(file(), fingerprint="f00d", dim=4)
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("weight", 4, 3)


def test_minimal_file_is_an_imported_head_of_temperature_one() -> None:
    head = Head.from_safetensors(file(weight=WEIGHT.astype(np.float64)), fingerprint="f00d")
    assert (head.family, head.temperature, head.l2) == ("imported", 1.0, None)
    assert head.weight.dtype == np.float32
    np.testing.assert_array_equal(head.weight, WEIGHT)


def test_imported_classifier_predicts_what_scikit_learn_does() -> None:
    features, targets = load_iris(return_X_y=True)
    reference = LogisticRegression(max_iter=1000).fit(features, targets)
    # safetensors writes an array as it lies in memory, and this one lies in Fortran's order.
    weight = np.ascontiguousarray(reference.coef_)
    data = safetensors.numpy.save({"weight": weight, "bias": reference.intercept_})
    head = Head.from_safetensors(data, labels=["a", "b", "c"], fingerprint="f00d")
    np.testing.assert_allclose(
        head.probabilities(features), reference.predict_proba(features), atol=1e-5
    )


def test_logits_are_the_linear_map_and_temperature_divides_them() -> None:
    head = Head("imported", ("bad", "good"), WEIGHT, BIAS, "f00d", temperature=2.0)
    rows = np.array([[1.0, 0.0, -1.0], [0.2, 0.3, 0.4]])
    logits = rows @ WEIGHT.T.astype(np.float64) + BIAS
    np.testing.assert_allclose(head.logits(rows), logits, rtol=1e-12)
    powers = np.exp(logits / 2)
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head.probabilities(rows), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        (np.zeros((2, 4)), "embeddings"),
        (np.zeros(3), "embeddings"),
        (np.array([[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]]), "embeddings[1]"),
        (np.array([[np.inf, 0.0, 0.0]]), "embeddings[0]"),
    ],
)
def test_embeddings_of_another_shape_or_not_finite_are_refused(
    rows: NDArray[np.float64], field: str
) -> None:
    head = Head.from_safetensors(file(), fingerprint="f00d")
    for score in (head.logits, head.probabilities):
        with pytest.raises(InvalidEmbeddings) as caught:
            score(rows)
        assert caught.value.field == field


def test_no_rows_give_no_predictions() -> None:
    head = Head.from_safetensors(file(), fingerprint="f00d")
    assert head.probabilities(np.empty((0, 3), np.float32)).shape == (0, 2)


def test_head_does_not_see_later_changes_of_its_arrays() -> None:
    weight = WEIGHT.copy()
    head = Head("imported", ("bad", "good"), weight, BIAS, "f00d")
    weight[:] = 0
    np.testing.assert_array_equal(head.weight, WEIGHT)


def test_size_counts_arrays_and_labels() -> None:
    head = Head("imported", ("bad", "gööd"), WEIGHT, BIAS, "f00d")
    assert head.nbytes == 6 * (4 + 8) + 2 * 4 + 3 + 6


@pytest.mark.parametrize("labels", [("a", 'quote " and \\ comma,'), ("ü", "標籤"), (" ", "\n")])
def test_any_label_survives_the_file(labels: tuple[str, str]) -> None:
    head = Head("ridge", labels, WEIGHT, BIAS, "f00d", temperature=0.1, l2=1 / 3)
    copy = Head.from_safetensors(head.to_safetensors())
    assert (copy.labels, copy.temperature, copy.l2) == (labels, 0.1, 1 / 3)
