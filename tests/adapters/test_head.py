"""A head scores, is checked, and travels as safetensors that are trusted in nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from adapters import Head, InvalidEmbeddings, InvalidWeights
from adapters.fronts import Front
from adapters.spec import FRONTS
from tests.adapters.head_files import (
    BIAS,
    WEIGHT,
    file,
    full,
)


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
