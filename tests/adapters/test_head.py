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

from adapters import Conformal, Head, InvalidEmbeddings, InvalidWeights, NoveltyBank
from adapters.fronts import Front
from adapters.spec import FRONTS

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


def full(kind: str = "standardise", *, unit: bool = False) -> Head:
    """A head with everything a head may have; 3 numbers in an embedding."""
    rng = np.random.default_rng(5)
    front = Front.of(kind, rng.normal(2.0, 3.0, (20, 3)), None, 7, unit=unit)
    bank = rng.normal(size=(4, 3))
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    weight = rng.normal(size=(2, front.feature_count)).astype(np.float32)
    return Head(
        family="ridge",
        labels=("bad", "gööd"),
        weight=weight,
        bias=BIAS,
        fingerprint="f00d",
        temperature=0.3,
        l2=1 / 3,
        front=front,
        class_weights={"bad": 2.0, "gööd": 1 / 3},
        novelty=NoveltyBank(bank.astype(np.float16), 2, 1 / 3, True, 0.05),
        conformal=Conformal(np.array([0.1, 1 / 3], np.float32), 1 / 7),
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


def test_size_counts_front_class_weights_bank_and_scores() -> None:
    bare = Head("ridge", ("bad", "gööd"), full().weight, BIAS, "f00d")
    front, bank, scores = 2 * 3 * 4, 4 * 3 * (2 + 4), 2 * 4
    assert full().nbytes == bare.nbytes + 3 + 6 + front + bank + scores


@pytest.mark.parametrize("kind", FRONTS)
@pytest.mark.parametrize("unit", [False, True])
def test_everything_survives_the_file_bit_by_bit(kind: str, unit: bool) -> None:
    head = full(kind, unit=unit)
    copy = Head.from_safetensors(head.to_safetensors())
    assert head.front is not None
    assert head.novelty is not None
    assert head.conformal is not None
    assert copy.front is not None
    assert copy.novelty is not None
    assert copy.conformal is not None
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = [
        (copy.weight, head.weight),
        (copy.bias, head.bias),
        (copy.front.mean, head.front.mean),
        (copy.front.scale, head.front.scale),
        (copy.novelty.bank, head.novelty.bank),
        (copy.conformal.scores, head.conformal.scores),
    ]
    assert all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)
    for name in ("family", "labels", "fingerprint", "temperature", "l2", "class_weights"):
        assert getattr(copy, name) == getattr(head, name)
    for name in ("kind", "seed", "width", "unit"):
        assert getattr(copy.front, name) == getattr(head.front, name)
    for name in ("neighbour", "threshold", "abstain", "false_alarm_rate"):
        assert getattr(copy.novelty, name) == getattr(head.novelty, name)
    assert copy.conformal.sharpness == head.conformal.sharpness
    rows = np.random.default_rng(0).normal(size=(5, 3))
    assert copy.probabilities(rows).tobytes() == head.probabilities(rows).tobytes()
    assert copy.novelty.scores(rows).tobytes() == head.novelty.scores(rows).tobytes()


@pytest.mark.parametrize("kind", FRONTS)
@pytest.mark.parametrize("unit", [False, True])
def test_raw_embeddings_give_the_logits_of_features_behind_any_front(kind: str, unit: bool) -> None:
    rows = np.random.default_rng(1).normal(2.0, 3.0, (30, 3))
    front = Front.of(kind, rows, None, 7, unit=unit)
    rng = np.random.default_rng(2)
    weight, bias = rng.normal(size=(2, front.feature_count)), rng.normal(size=2)
    head = Head("ridge", ("a", "b"), *front.fold(weight, bias), "f00d", front=front)  # type: ignore[arg-type]
    assert head.dim == 3
    expected = front.features(rows) @ weight.T + bias
    np.testing.assert_allclose(head.logits(rows), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", FRONTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_front_hides_a_number_that_is_not_finite(kind: str, bad: float) -> None:
    rows = np.ones((3, 3))
    rows[1, 2] = bad
    with pytest.raises(InvalidEmbeddings) as caught:
        full(kind, unit=True).logits(rows)
    assert caught.value.field == "embeddings[1]"


@pytest.mark.parametrize("labels", [("a", 'quote " and \\ comma,'), ("ü", "標籤"), (" ", "\n")])
def test_any_label_survives_the_file(labels: tuple[str, str]) -> None:
    head = Head("ridge", labels, WEIGHT, BIAS, "f00d", temperature=0.1, l2=1 / 3)
    copy = Head.from_safetensors(head.to_safetensors())
    assert (copy.labels, copy.temperature, copy.l2) == (labels, 0.1, 1 / 3)
