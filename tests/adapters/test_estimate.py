"""Figures of an evaluation, against those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from adapters import Head, InvalidExamples, UnknownLabel, evaluate, evaluation
from adapters.estimate import (
    BINS,
    calibration_error,
    confidences,
    reliability,
)

LABELS = ("a", "b", "c", "d")


def scored(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Logits that know something, and classes of which the last is never right."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, n)
    return rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[targets], targets


@pytest.mark.parametrize(("n", "seed"), [(3, 0), (40, 1), (1000, 2)])
def test_figures_are_those_of_scikit_learn(n: int, seed: int) -> None:
    logits, targets = scored(n, seed)
    ours = evaluation(logits, targets, LABELS, 0.7, "held-out")
    predicted, classes = logits.argmax(axis=1), np.arange(4)
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, labels=classes, zero_division=np.nan
    )

    def given(*values: float | None) -> list[float]:
        return [np.nan if value is None else value for value in values]

    np.testing.assert_allclose(given(*(c.precision for c in ours.classes)), precision, rtol=1e-12)
    np.testing.assert_allclose(given(*(c.recall for c in ours.classes)), recall, rtol=1e-12)
    np.testing.assert_allclose(given(*(c.f1 for c in ours.classes)), f1, rtol=1e-12)
    assert [c.examples for c in ours.classes] == support.tolist()
    assert [c.label for c in ours.classes] == list(LABELS)
    assert np.array_equal(ours.confusion, confusion_matrix(targets, predicted, labels=classes))
    expected = log_loss(targets, softmax(logits / 0.7, axis=1), labels=classes)
    assert ours.estimate.log_loss == pytest.approx(expected, rel=1e-9)
    assert ours.estimate.accuracy == np.mean(predicted == targets)
    assert ours.estimate.method == "held-out"


def test_a_class_that_nobody_has_or_names_has_no_figures() -> None:
    logits, targets = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), np.array([0, 0])
    a, b, c = evaluation(logits, targets, LABELS[:3], 1.0, "held-out").classes
    assert (a.precision, a.recall, a.f1) == (1.0, 0.5, 2 / 3)
    assert (b.precision, b.recall, b.f1) == (0.0, None, 0.0)
    assert (c.precision, c.recall, c.f1) == (None, None, None)


def test_bins_have_equal_mass_and_rise_in_confidence() -> None:
    logits, targets = scored(995, 3)
    bins = evaluation(logits, targets, LABELS, 1.0, "held-out").reliability
    sizes = [b.examples for b in bins]
    assert (len(bins), sum(sizes), max(sizes) - min(sizes)) == (BINS, 995, 1)
    means = [b.confidence for b in bins]
    assert means == sorted(means)


def test_calibration_error_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    confidence = np.repeat([0.6, 0.9], 10)
    right = np.array([True] * 6 + [False] * 4 + [True] * 7 + [False] * 3)
    assert calibration_error(reliability(confidence, right, 2)) == pytest.approx(0.1)
    assert calibration_error(reliability(confidence, right, 1)) == pytest.approx(0.1)


def test_calibration_error_vanishes_where_probabilities_are_true() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    right = rng.uniform(size=len(confidence)) < confidence
    assert calibration_error(reliability(confidence, right)) < 0.005
    assert calibration_error(reliability(confidence**2, right)) > 0.1


@given(st.integers(1, 60), st.integers(0, 10), st.floats(0.05, 20))
def test_laws_of_an_evaluation(n: int, seed: int, temperature: float) -> None:
    logits, targets = scored(n, seed)
    found = evaluation(logits, targets, LABELS, temperature, "held-out")
    assert sum(map(sum, found.confusion)) == n == sum(b.examples for b in found.reliability)
    hits = sum(found.confusion[c][c] for c in range(4))
    assert found.estimate.accuracy == hits / n
    assert 0 <= found.expected_calibration_error <= 1
    assert found.estimate.accuracy_low <= found.estimate.accuracy <= found.estimate.accuracy_high
    expected = softmax(logits / temperature, axis=1).max(axis=1)
    np.testing.assert_allclose(confidences(logits, temperature), expected, rtol=1e-9)


HEAD = Head("imported", ("no", "yes"), np.array([[-1.0], [1.0]]), np.zeros(2), "f00d")  # type: ignore[arg-type]


def test_a_head_is_measured_on_labelled_embeddings() -> None:
    found = evaluate(HEAD, [[1.0], [2.0], [-1.0], [-2.0]], ["yes", "no", "no", "no"])
    assert found.confusion == ((2, 1), (0, 1))
    assert found.estimate.accuracy == 0.75


@pytest.mark.parametrize(("rows", "labels"), [(np.empty((0, 1)), []), ([[1.0], [2.0]], ["yes"])])
def test_a_measurement_needs_one_label_per_embedding(rows: object, labels: list[str]) -> None:
    with pytest.raises(InvalidExamples, match="one each"):
        evaluate(HEAD, rows, labels)  # type: ignore[arg-type]


def test_a_label_the_head_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownLabel):
        evaluate(HEAD, [[1.0]], ["perhaps"])
