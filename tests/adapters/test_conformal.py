"""Conformal sets hold the right class as often as they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from adapters import Conformal, InvalidArgument
from adapters.calibration import fit_temperature
from adapters.conformal import MAX_SCORES

LEVELS = (0.8, 0.9, 0.95)


def draw(n: int, seed: int, classes: int = 4) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    return rng.normal(size=(n, classes)) + 2 * np.eye(classes)[targets], targets


def coverage(n: int, level: float, repeats: int) -> NDArray[np.float64]:
    found = []
    for seed in range(repeats):
        conformal = Conformal.of(*draw(n, seed), 1.0)
        logits, targets = draw(2000, 10_000 + seed)
        found.append(conformal.sets(logits, level)[np.arange(2000), targets].mean())
    return np.array(found)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [60, 300, 5000])
def test_sets_cover_fresh_examples_at_the_level(n: int, level: float) -> None:
    found = coverage(n, level, 100)
    error = found.std(ddof=1) / 10
    assert (
        found.mean() >= level - 0.005 - 2 * error
    )  # the choice of the sharpness may cost half a point
    assert found.mean() <= level + 1 / (n + 1) + 0.001 + 2 * error


@pytest.mark.parametrize("n", [1, 5, 9])
def test_too_few_examples_exclude_no_class(n: int) -> None:
    conformal = Conformal.of(*draw(n, 0), 1.0)
    assert conformal.sets(draw(50, 1)[0], 0.95).all()
    assert not conformal.sets(draw(50, 1)[0], 0.5 * n / (n + 1)).all()


def test_another_sharpness_than_the_calibrated_one_makes_smaller_sets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 10, 4000)
    logits = rng.exponential(size=(4000, 10)) + 2 * np.eye(10)[targets]
    temperature = fit_temperature(logits, targets)
    chosen = Conformal.of(logits[:2000], targets[:2000], temperature)
    monkeypatch.setattr("adapters.conformal._SHARPNESSES", (1.0,))
    calibrated = Conformal.of(logits[:2000], targets[:2000], temperature)
    assert calibrated.sharpness == 1 / temperature != chosen.sharpness
    sizes = [
        np.mean([c.sets(logits[2000:], level).sum(axis=1).mean() for level in LEVELS])
        for c in (chosen, calibrated)
    ]
    assert sizes[0] < 0.8 * sizes[1]


def test_a_set_may_be_empty() -> None:
    logits = np.array([[10.0, 0.0], [0.0, 10.0]] * 50)
    conformal = Conformal.of(logits, np.array([0, 1] * 50), 1.0)
    assert not conformal.sets(np.zeros((1, 2)), 0.9).any()


def test_sets_are_those_of_probabilities_above_a_bound() -> None:
    logits, targets = draw(99, 0)
    conformal = Conformal.of(logits, targets, 1.0)
    fresh = draw(200, 1)[0]
    own = softmax(conformal.sharpness * logits, axis=1)[np.arange(99), targets]
    bound = np.sort(own)[::-1][int(np.ceil(0.9 * 100)) - 1]
    expected = softmax(conformal.sharpness * fresh, axis=1) >= bound * (1 - 1e-6)
    assert np.array_equal(conformal.sets(fresh, 0.9), expected)


@given(st.integers(1, 2500), st.floats(0.01, 0.98), st.floats(0.0, 0.01))
def test_sets_grow_with_the_level_and_few_scores_are_kept(
    n: int, level: float, more: float
) -> None:
    conformal = Conformal.of(*draw(n, 0), 1.0)
    assert len(conformal.scores) == min(n, MAX_SCORES)
    logits = draw(20, 1)[0]
    assert (conformal.sets(logits, level) <= conformal.sets(logits, level + more)).all()


@given(st.integers(MAX_SCORES + 1, 5 * MAX_SCORES))
def test_thinned_scores_are_on_the_safe_side_by_a_thousandth_at_most(n: int) -> None:
    logits, targets = draw(n, 0)
    conformal = Conformal.of(logits, targets, 1.0)
    scores = -log_softmax(conformal.sharpness * logits, axis=1)[np.arange(n), targets]
    ordered = np.sort(scores).astype(np.float32)
    kept = np.arange(1, MAX_SCORES + 1)
    ranks = -(-(n + 1) * kept // (MAX_SCORES + 1))  # rounded up
    above = np.minimum(ranks + (n + 1) // MAX_SCORES, n)
    assert (conformal.scores >= ordered[ranks - 1] * (1 - 1e-6)).all()
    assert (conformal.scores <= ordered[above - 1] * (1 + 1e-6)).all()


@pytest.mark.parametrize("n", [1001, 1500, 2500, 4999])
def test_sets_of_thinned_scores_contain_those_of_all(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    thinned = Conformal.of(*draw(n, 0), 1.0)
    monkeypatch.setattr("adapters.conformal.MAX_SCORES", n)
    every = Conformal.of(*draw(n, 0), 1.0)
    assert len(thinned.scores) < len(every.scores) == n
    logits = draw(5000, 1)[0]
    for level in np.arange(25, 1000, 25) / 1001:
        assert (every.sets(logits, level) <= thinned.sets(logits, level)).all()


def test_probabilities_next_to_one_are_told_apart() -> None:
    logits = np.array([[20.0 + 0.2 * i, 0.0] for i in range(100)])
    conformal = Conformal.of(logits, np.zeros(100, np.intp), 1.0)
    sets = conformal.sets(logits, 0.5)
    assert 45 <= sets[:, 0].sum() <= 55


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Conformal.of(*draw(10, 0), 1.0).sets(np.zeros((1, 4)), level)
    assert caught.value.field == "level"


def test_no_rows_give_no_sets() -> None:
    assert Conformal.of(*draw(10, 0), 1.0).sets(np.empty((0, 4)), 0.9).shape == (0, 4)
