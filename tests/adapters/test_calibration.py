"""Temperatures and folds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss as reference_log_loss

from adapters.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    calibrated_losses,
    fit_temperature,
    log_loss,
)
from adapters.estimate import wilson_interval
from adapters.folds import fold_count, stratified_folds


def scores(n: int, classes: int, truth: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels were drawn from the softmax at temperature `truth`."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, classes))
    chances = softmax(logits / truth, axis=1)
    targets = (chances.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return logits, targets


@pytest.mark.parametrize("truth", [0.3, 1.0, 4.0])
def test_temperature_that_made_the_labels_is_found(truth: float) -> None:
    assert fit_temperature(*scores(20_000, 4, truth)) == pytest.approx(truth, rel=0.1)


def test_temperature_minimises_the_log_loss() -> None:
    logits, targets = scores(3000, 5, 1.7)
    best = minimize_scalar(
        lambda t: log_loss(logits, targets, t), bounds=(0.1, 10), method="bounded"
    )
    assert fit_temperature(logits, targets) == pytest.approx(best.x, rel=5e-3)


@pytest.mark.parametrize("n", [6, 12, 30])
def test_an_example_of_no_class_in_particular_is_imagined(n: int) -> None:
    """It is as likely to be like any of the others, and its label to be any class."""
    logits, targets = scores(n, 3, 1.0)

    def loss(cold: float) -> float:
        logs = log_softmax(np.exp(cold) * logits, axis=1)
        return float(-logs[np.arange(n), targets].sum() - logs.mean())

    best = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-6})
    assert fit_temperature(logits, targets) == pytest.approx(np.exp(-best.x), rel=1e-3)


def test_few_right_answers_do_not_make_certainty() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 1.0]] * 3)
    temperature = fit_temperature(logits, np.array([0, 1] * 3))
    confidence = softmax(logits / temperature, axis=1).max(axis=1)
    assert 0.9 < confidence.max() < 0.99


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_temperature_follows_the_spread_of_the_logits_within_bounds(size: float) -> None:
    logits, targets = scores(50, 3, 1.0)
    spread = (logits - logits.max(axis=1, keepdims=True)).std()
    for labels in (targets, logits.argmax(axis=1), logits.argmin(axis=1)):
        temperature = fit_temperature(size * logits, labels)
        assert temperature == pytest.approx(size * fit_temperature(logits, labels), rel=1e-3)
        relative = temperature / size / spread
        assert MIN_TEMPERATURE * 0.999 <= relative <= MAX_TEMPERATURE * 1.001


def test_losses_of_many_models_are_those_of_each() -> None:
    logits, targets = scores(300, 4, 1.0)
    temperatures, losses = calibrated_losses(np.stack([logits, 1e5 * logits, -logits]), targets)
    for index, some in enumerate((logits, 1e5 * logits, -logits)):
        best = fit_temperature(some, targets)
        assert losses[index] == pytest.approx(log_loss(some, targets, best), rel=1e-3)
        assert temperatures[index] == pytest.approx(best, rel=0.05)


def test_logits_that_are_all_alike_have_a_temperature() -> None:
    assert np.isfinite(fit_temperature(np.zeros((6, 3)), np.array([0, 1, 2] * 2)))


def test_log_loss_equals_scikit_learn() -> None:
    logits, targets = scores(200, 4, 1.0)
    expected = reference_log_loss(targets, softmax(logits / 2, axis=1))
    assert log_loss(logits, targets, 2.0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_interval_equals_published_values(
    right: int, n: int, low: float, high: float
) -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I gives the last one."""
    assert wilson_interval(right, n) == pytest.approx((low, high), abs=5e-5)


@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=8),
    folds=st.integers(2, 12),
    seed=st.integers(0, 2**64 - 1),
)
def test_folds_are_even_and_every_training_part_has_every_class(
    counts: list[int], folds: int, seed: int
) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    folds = min(folds, len(targets))
    dealt = stratified_folds(targets, folds, seed)
    sizes = np.bincount(dealt, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    for target, count in enumerate(counts):
        share = np.bincount(dealt[targets == target], minlength=folds)
        assert share.max() - share.min() <= 1
        assert share.max() < count


@given(seed=st.integers(0, 1000))
def test_folds_do_not_depend_on_the_numbers_of_the_classes(seed: int) -> None:
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(4), 6))
    other = np.array([2, 0, 3, 1])[targets]
    np.testing.assert_array_equal(
        stratified_folds(targets, 5, seed), stratified_folds(other, 5, seed)
    )


@pytest.mark.parametrize(
    ("n", "rank", "classes", "expected"),
    [
        (100, 5, 4, 25),
        (1000, 5, 4, 50),
        (40, 5, 10, 10),
        (8, 5, 2, 8),
        (1000, 2000, 4, 25),
        (1000, 20_000, 4, 10),
    ],
)
def test_a_fold_takes_an_example_of_each_class_within_bounds(
    n: int, rank: int, classes: int, expected: int
) -> None:
    assert fold_count(n, rank, classes) == expected
