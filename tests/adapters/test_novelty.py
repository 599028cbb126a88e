"""Novelty: as many false alarms as asked for, and novel inputs recognised."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from adapters import NoveltyBank
from adapters.novelty import MAX_KEPT_PER_CLASS, MIN_THRESHOLD
from adapters.spec import NoveltySpec

Data = tuple[NDArray[np.float32], NDArray[np.intp]]


def digits() -> Data:
    data = load_digits()
    return data.data.astype(np.float32), data.target


def bank(
    embeddings: NDArray[np.float32], targets: NDArray[np.intp], rate: float = 0.05, seed: int = 0
) -> NoveltyBank:
    found = NoveltyBank.of(embeddings, targets, NoveltySpec(rate), seed)
    assert found is not None
    return found


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("size", [250, 1000])
def test_false_alarms_come_at_the_chosen_rate(rate: float, size: int) -> None:
    embeddings, targets = digits()
    alarms = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(targets))
        known, fresh = order[:size], order[size:]
        scores = bank(embeddings[known], targets[known], rate, seed).scores(embeddings[fresh])
        alarms.append(np.mean(scores > 1))
    error = np.std(alarms, ddof=1) / np.sqrt(20)
    assert np.mean(alarms) <= rate + 2 * error
    assert np.mean(alarms) >= rate - 1 / (size // 2 + 1) - 2 * error


def test_a_class_nobody_has_shown_is_told_from_the_others() -> None:
    embeddings, targets = digits()
    areas = []
    for stranger in range(10):
        order = np.random.default_rng(stranger).permutation(len(targets))
        known, fresh = order[:1000], order[1000:]
        known = known[targets[known] != stranger]
        scores = bank(embeddings[known], targets[known]).scores(embeddings[fresh])
        areas.append(roc_auc_score(targets[fresh] == stranger, scores))
    assert np.mean(areas) > 0.85
    assert min(areas) > 0.7


def test_kept_are_unit_vectors_of_every_class_and_not_too_many() -> None:
    embeddings, targets = digits()
    found = bank(embeddings, targets)
    lengths = np.linalg.norm(found.bank.astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-3)
    assert found.bank.shape == (10 * MAX_KEPT_PER_CLASS, 64)
    assert found.bank.dtype == np.float16


def test_the_length_of_an_embedding_does_not_matter() -> None:
    embeddings, targets = digits()
    found = bank(embeddings, targets)
    rows = embeddings[:20]
    np.testing.assert_allclose(found.scores(1e30 * rows), found.scores(rows), atol=5e-3)


def test_scores_are_distances_to_the_neighbour_over_the_threshold() -> None:
    kept = np.eye(3, dtype=np.float16)
    rows = [[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    for neighbour, expected in ((1, [0, 2 - 2**0.5, 2]), (2, [2, 2 - 2**0.5, 2])):
        found = NoveltyBank(kept, neighbour, 0.5, False, 0.05).scores(rows)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, 2 * np.sqrt(expected), atol=1e-3)


@pytest.mark.parametrize(("count", "rate"), [(2, 0.05), (37, 0.05), (197, 0.01)])
def test_there_is_no_bank_where_examples_are_too_few_for_the_rate(count: int, rate: float) -> None:
    embeddings, targets = digits()
    assert NoveltyBank.of(embeddings[:count], targets[:count], NoveltySpec(rate), 0) is None


def test_twice_as_many_as_the_threshold_needs_are_enough() -> None:
    embeddings, targets = digits()
    assert len(bank(embeddings[:38], targets[:38]).bank) == 19


def test_the_same_seed_keeps_the_same() -> None:
    embeddings, targets = digits()
    first, same, other = (bank(embeddings, targets, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.bank, same.bank)
    assert first.threshold == same.threshold
    assert not np.array_equal(first.bank, other.bank)


def test_examples_that_are_all_alike_make_whatever_differs_novel() -> None:
    found = bank(np.ones((60, 5), np.float32), np.arange(60) % 2)
    assert found.threshold == MIN_THRESHOLD
    assert (found.scores([[1.0] * 5, [1.0, 1.0, 1.0, 1.0, 0.9]]) > 1).tolist() == [False, True]


def test_embeddings_of_zeros_are_novel_and_never_kept() -> None:
    embeddings, targets = digits()
    embeddings[::7] = 0
    found = bank(embeddings, targets)
    assert (np.abs(found.bank).max(axis=1) > 0).all()
    assert found.scores(np.zeros((1, 64)))[0] > 1


def test_no_rows_have_no_scores() -> None:
    assert bank(*digits()).scores(np.empty((0, 64))).shape == (0,)
