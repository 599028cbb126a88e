"""What choosing among candidates adds to the accuracy of the chosen one is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters
from adapters.estimate import estimate, wilson_interval
from adapters.optimism import MOST_GROUPS, optimism

EXAMPLES, CANDIDATES, CLASSES = 60, 12, 3


def guesses(seed: int, candidates: int = CANDIDATES) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that know nothing of the targets, and the targets."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(candidates, EXAMPLES, CLASSES))
    return logits, rng.integers(0, CLASSES, EXAMPLES)


def test_luck_of_the_best_of_many_guesses_is_told() -> None:
    claimed, corrected = [], []
    for seed in range(100):
        logits, targets = guesses(seed)
        losses = [estimate(one, targets, 1.0, "").log_loss for one in logits]
        best = estimate(logits[int(np.argmin(losses))], targets, 1.0, "").accuracy
        claimed.append(best)
        corrected.append(best - optimism(logits, targets, np.arange(EXAMPLES), seed))
    assert np.mean(claimed) > 1 / CLASSES + 0.03
    assert abs(np.mean(corrected) - 1 / CLASSES) < 0.02


@given(seed=st.integers(0, 10**6), copies=st.integers(1, 4))
def test_who_chooses_among_equals_is_not_lucky(seed: int, copies: int) -> None:
    logits, targets = guesses(seed, 1)
    alike = np.repeat(logits, copies, axis=0)
    assert optimism(alike, targets, np.arange(EXAMPLES), seed) == 0


@given(seed=st.integers(0, 10**6), times=st.integers(2, 4))
def test_copies_of_each_example_change_nothing_where_they_are_one_group(
    seed: int, times: int
) -> None:
    logits, targets = guesses(seed)
    groups = np.arange(EXAMPLES)
    once = optimism(logits, targets, groups, seed)
    stored_again = optimism(
        np.repeat(logits, times, axis=1), np.repeat(targets, times), np.repeat(groups, times), seed
    )
    # The imaginary example of the calibration weighs less among more.
    assert stored_again == pytest.approx(once, abs=0.02)


def test_it_is_left_out_where_there_is_nothing_to_choose_or_much_to_choose_by() -> None:
    logits, targets = guesses(0)
    assert optimism(logits[:1], targets, np.arange(EXAMPLES), 0) == 0
    assert optimism(logits, targets, np.zeros(EXAMPLES, dtype=np.intp), 0) == 0
    many = np.tile(logits, (1, MOST_GROUPS // EXAMPLES + 1, 1))
    groups = np.arange(many.shape[1])
    assert optimism(many, np.resize(targets, len(groups)), groups, 0) == 0


def test_interval_of_a_head_lies_around_its_accuracy_less_the_optimism() -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 2, 40)
    rows = rng.normal(size=(40, 64)) + 0.4 * targets[:, None]
    labels = [str(one) for one in targets]
    found = adapters.fit(rows, labels, fingerprint="test").report.estimate
    given_l2 = adapters.fit(rows, labels, adapters.HeadSpec("ridge", l2=1.0), fingerprint="test")
    assert found is not None
    assert found.optimism > 0
    low, high = wilson_interval((found.accuracy - found.optimism) * 40, 40)
    assert np.allclose((found.accuracy_low, found.accuracy_high), (low, high))
    assert given_l2.report.estimate is not None
    assert given_l2.report.estimate.optimism == 0


def noisy(seed: int) -> tuple[np.ndarray, list[str]]:
    """Return 40 rows that say little of their class, and the labels."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, 40)
    return rng.normal(size=(40, 64)) + 0.3 * targets[:, None], [str(one) for one in targets]


def optimisms(family: str) -> list[float]:
    found = []
    for seed in range(12):
        rows, labels = noisy(seed)
        spec = adapters.HeadSpec(family, seed=seed)
        estimate = adapters.fit(rows, labels, spec, fingerprint="test").report.estimate
        assert estimate is not None
        found.append(estimate.optimism)
    return found


@pytest.mark.parametrize("family", ["ridge", "lda", "logistic"])
def test_choosing_a_strength_is_lucky_in_every_family(family: str) -> None:
    assert np.mean(optimisms(family)) > 0.002


def test_family_without_a_choice_has_no_optimism() -> None:
    assert optimisms("prototype") == [0.0] * 12


def test_choosing_among_families_adds_to_choosing_a_strength() -> None:
    alone = 0.0
    for seed in range(12):
        rows, labels = noisy(seed)
        report = adapters.fit(rows, labels, adapters.HeadSpec(seed=seed), fingerprint="test").report
        (chosen,) = (one for one in report.candidates if one.chosen)
        assert chosen.estimate is not None
        assert report.estimate is not None
        assert report.estimate.optimism >= chosen.estimate.optimism
        alone += chosen.estimate.optimism
    assert sum(optimisms("auto")) > alone + 0.01
