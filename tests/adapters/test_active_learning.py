"""Suggestions: distinct, seeded, and worth more than a random choice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import adapters
from adapters import Head, HeadSpec, InvalidArgument, InvalidEmbeddings, suggest
from adapters.active_learning import DEFAULT, STRATEGIES

pytestmark = pytest.mark.costly

SEEDS = 20
HEAD = Head("imported", ("a", "b"), np.array([[1, 0], [0, 1]]), np.zeros(2), "f00d")  # type: ignore[arg-type]


def digits() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    data = load_digits()
    return data.data.astype(np.float32), data.target.astype(str)


def learn(embeddings: NDArray[np.float32], labels: NDArray[np.str_]) -> Head:
    names, counts = np.unique(labels, return_counts=True)
    kept = np.isin(labels, names[counts > 1])
    spec = HeadSpec("ridge", l2=30.0)
    return adapters.fit(embeddings[kept], labels[kept].tolist(), spec, fingerprint="f00d").head


def accuracy(strategy: str, start: str, batches: int, seed: int) -> float:
    """Accuracy on 500 others after 20 labels chosen one way and batches of 20 chosen another."""
    embeddings, labels = digits()
    order = np.random.default_rng(seed).permutation(len(labels))
    test, pool = order[:500], order[500:]
    chosen = suggest(embeddings[pool], 20, strategy=start, seed=seed)
    known = pool[chosen]
    head = learn(embeddings[known], labels[known])
    for _ in range(batches):
        pool = np.setdiff1d(pool, known)
        rows = suggest(
            embeddings[pool],
            20,
            head=head,
            labelled=embeddings[known],
            strategy=strategy,
            seed=seed,
        )
        known = np.concatenate([known, pool[rows]])
        head = learn(embeddings[known], labels[known])
    predicted = np.array(head.labels)[head.logits(embeddings[test]).argmax(axis=1)]
    return float(np.mean(predicted == labels[test]))


def gain(strategy: str, start: str, batches: int) -> tuple[float, float]:
    """Return the mean gain over a random choice on the same splits, and its standard error."""
    gains = [
        accuracy(strategy, start, batches, seed) - accuracy("random", "random", batches, seed)
        for seed in range(SEEDS)
    ]
    return float(np.mean(gains)), float(np.std(gains, ddof=1) / np.sqrt(SEEDS))


def test_the_default_beats_a_random_choice() -> None:
    mean, error = gain(DEFAULT, "random", 4)
    assert mean - 2 * error > 0


def test_a_diverse_start_beats_a_random_one() -> None:
    mean, error = gain("random", "diverse", 0)
    assert mean - 2 * error > 0


def test_margin_starts_with_a_row_between_two_classes() -> None:
    rows = np.array([[9.0, 0.0], [0.0, 9.0], [8.0, 1.0], [1.0, 1.01], [0.0, 7.0], [6.0, 0.0]])
    assert suggest(rows, 1, head=HEAD, strategy="margin").tolist() == [3]


def test_margin_does_not_ask_about_copies_of_one_row() -> None:
    rows = np.array([[1.0, 1.01]] * 4 + [[-1.0, -1.02]] + [[9.0, 0.0]] * 20)
    assert 4 in suggest(rows, 2, head=HEAD, strategy="margin")


def test_diverse_takes_one_from_each_clump_and_keeps_away_from_the_labelled() -> None:
    rng = np.random.default_rng(0)
    centres = 9 * np.eye(4)
    rows = np.repeat(centres, 25, axis=0) + rng.normal(size=(100, 4)) / 5
    assert sorted(suggest(rows, 4, strategy="diverse") // 25) == [0, 1, 2, 3]
    labelled = centres[:2] + 0.1
    assert sorted(suggest(rows, 2, labelled=labelled, strategy="diverse") // 25) == [2, 3]


def test_the_default_needs_no_head_at_the_start() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 2))
    start = suggest(rows, 5)
    assert np.array_equal(start, suggest(rows, 5, strategy="diverse"))
    assert np.array_equal(
        suggest(rows, 5, head=HEAD), suggest(rows, 5, head=HEAD, strategy=DEFAULT)
    )


@given(
    strategy=st.sampled_from(STRATEGIES),
    n=st.integers(0, 40),
    count=st.integers(1, 60),
    labelled=st.none() | st.integers(0, 5),
    distinct=st.integers(1, 40),
)
def test_suggestions_are_distinct_rows_and_repeatable(
    strategy: str, n: int, count: int, labelled: int | None, distinct: int
) -> None:
    rows = np.random.default_rng(0).normal(size=(distinct, 2))[np.arange(n) % distinct]
    known = None if labelled is None else np.random.default_rng(1).normal(size=(labelled, 2))
    found, again = (
        suggest(rows, count, head=HEAD, labelled=known, strategy=strategy, seed=7) for _ in range(2)
    )
    assert np.array_equal(found, again)
    assert len(found) == len(set(found.tolist())) == min(n, count)
    assert all(0 <= row < n for row in found)


def test_other_seeds_draw_otherwise() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 2))
    draws = [suggest(rows, 10, strategy="random", seed=seed).tolist() for seed in (1, 2)]
    assert draws[0] != draws[1]


@pytest.mark.parametrize(
    ("count", "strategy", "field"),
    [
        (0, "random", "count"),
        (-1, "diverse", "count"),
        (1, "best", "strategy"),
        (1, "margin", "strategy"),
    ],
)
def test_what_cannot_be_done_is_refused(count: int, strategy: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        suggest(np.ones((3, 2)), count, strategy=strategy)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("rows", "labelled", "field"),
    [
        (np.ones(3), None, "embeddings"),
        (np.array([[1.0, np.nan]]), None, "embeddings[0]"),
        (np.ones((3, 2)), np.array([[1.0, np.inf]]), "labelled[0]"),
    ],
)
def test_embeddings_that_are_none_are_refused(
    rows: NDArray[np.float64], labelled: NDArray[np.float64] | None, field: str
) -> None:
    with pytest.raises(InvalidEmbeddings) as caught:
        suggest(rows, 1, labelled=labelled, strategy="diverse")
    assert caught.value.field == field
