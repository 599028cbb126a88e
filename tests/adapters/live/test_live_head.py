"""Live copies: equal to a head trained anew, whatever came, went or was corrected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapters
from adapters import Head, HeadSpec
from adapters.live import Change, LiveHead, live_head
from tests.adapters.data import Embeddings, blobs, noisy
from tests.adapters.live.versions import Array, all_families, assert_same, families, version

LABELS = ("a", "b", "c", "d", "new")


@dataclass
class World:
    """A live copy and, beside it, a plain list of the examples it ought to have learned."""

    base: Head
    pool: Embeddings
    examples: list[tuple[int, str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.live = live_head(self.base, *self.arrays())

    def arrays(self) -> tuple[Embeddings, list[str], Array]:
        rows = [row for row, _, _ in self.examples]
        weights = np.array([weight for _, _, weight in self.examples])
        return self.pool[rows], [label for _, label, _ in self.examples], weights

    def add(self, row: int, label: str, weight: float) -> None:
        self.live.apply([Change(self.pool[row], label, weight=weight)])
        self.examples.append((row, label, weight))

    def remove(self, place: int) -> None:
        row, label, weight = self.examples.pop(place)
        self.live.apply([Change(self.pool[row], None, label, weight)])

    def correct(self, place: int, label: str) -> None:
        row, old, weight = self.examples[place]
        self.live.apply([Change(self.pool[row], label, old, weight)])
        self.examples[place] = row, label, weight

    def anew(self) -> LiveHead:
        return live_head(self.base, *self.arrays())


def changes(dim: int) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Up to 80 changes; removals and corrections choose among what is there then."""
    rows, labels = st.integers(0, 99), st.sampled_from(LABELS)
    weights = st.sampled_from((1.0, 1.0, 0.3, 2.5))
    add = st.tuples(st.just("add"), rows, labels, weights)
    remove = st.tuples(st.just("remove"), rows)
    correct = st.tuples(st.just("correct"), rows, labels)
    return st.lists(st.one_of(add, add, remove, correct), min_size=5, max_size=80)


def follow(world: World, steps: Sequence[tuple[Any, ...]]) -> None:
    for kind, number, *rest in steps:
        if kind == "add":
            world.add(number, *rest)
        elif world.examples:
            place = number % len(world.examples)
            if kind == "remove":
                world.remove(place)
            else:
                world.correct(place, *rest)


@families
@pytest.mark.parametrize("dim", [4, 200], ids=["n > d", "n < d"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "class weights"])
@settings(max_examples=25)
@given(data=st.data())
def test_copy_equals_one_trained_anew_after_any_changes(
    family: str, dim: int, weighted: bool, data: st.DataObject
) -> None:
    pool, labels = blobs(100, dim, 4)
    base = version(family, pool, class_weights={"a": 0.5, "new": 3.0} if weighted else {})
    start = data.draw(st.integers(0, 30))
    examples = [(row, labels[row][-1].replace("0", "a"), 1.0) for row in range(start)]
    world = World(base, pool, examples)
    follow(world, data.draw(changes(dim)))
    expected = world.anew()
    assert world.live.ready == expected.ready
    assert world.live.labels == expected.labels == tuple(sorted({x for _, x, _ in world.examples}))
    if expected.ready:
        assert_same(world.live.head, expected.head)


@families
@pytest.mark.parametrize("kind", ["standardise", "normalise", "projection"])
def test_every_front_stays_in_place(family: str, kind: str) -> None:
    pool, labels = blobs(60, 12, 3)
    base = version(family, pool, kind=kind)
    live = live_head(base, pool[:40], labels[:40])
    live.apply([Change(*pair) for pair in zip(pool[40:], labels[40:], strict=True)])
    live.apply([Change(pool[7], labels[8], labels[7]), Change(pool[9], None, labels[9])])
    labels[7] = labels[8]
    kept = np.arange(60) != 9
    remaining = [label for label, keep in zip(labels, kept, strict=True) if keep]
    assert_same(live.head, live_head(base, pool[kept], remaining).head)
    assert live.head.front is base.front


@families
@pytest.mark.parametrize("start", [10, 100, 400], ids=["implicit", "turning dense", "dense"])
def test_hundreds_of_updates_leave_no_trace_in_the_weights(family: str, start: int) -> None:
    pool, labels = noisy(600, 160, 5, distance=2.0)
    base = version(family, pool, l2=30.0)
    live = live_head(base, pool[:start], labels[:start])
    live.apply([Change(*pair) for pair in zip(pool[start:], labels[start:], strict=True)])
    assert live.updates == 600 - start
    assert_same(live.head, live_head(base, pool, labels).head)
    live.apply([Change(row, None, old) for row, old in zip(pool[50:], labels[50:], strict=True)])
    assert_same(live.head, live_head(base, pool[:50], labels[:50]).head)


def solve_ridge(features: Array, one_hot: Array, weights: Array, l2: float) -> tuple[Array, Array]:
    """Minimise half the weighted squared error plus the penalty by its normal equations."""
    design: Array = np.hstack([features, np.ones((len(features), 1))])
    moment: Array = design.T @ (weights[:, None] * design)
    moment += l2 * np.diag(np.arange(len(moment)) < features.shape[1])
    solved: Array = np.linalg.inv(moment) @ (design.T @ (weights[:, None] * one_hot))
    return solved[:-1].T, solved[-1]


def solve_lda(features: Array, one_hot: Array, weights: Array, l2: float) -> tuple[Array, Array]:
    """Solve with the scatter within classes, computed around the class means."""
    member = one_hot * weights[:, None]
    totals = member.sum(axis=0)
    means = member.T @ features / totals[:, None]
    centred = features - one_hot @ means
    scatter = centred.T @ (weights[:, None] * centred) + l2 * np.eye(features.shape[1])
    centre = weights @ features / weights.sum()
    weight = totals.sum() * np.linalg.solve(scatter, (means - centre).T).T
    bias = np.log(totals / totals.sum()) - np.sum(weight * (means + centre), axis=1) / 2
    return weight, bias


def solve_prototype(
    features: Array, one_hot: Array, weights: Array, l2: float
) -> tuple[Array, Array]:
    """Average and scale to unit length."""
    means: Array = (one_hot * weights[:, None]).T @ features
    lengths: Array = np.linalg.norm(means, axis=1, keepdims=True)
    return means / lengths, np.zeros(len(means))


SOLVERS: Mapping[str, Callable[[Array, Array, Array, float], tuple[Array, Array]]] = {
    "ridge": solve_ridge,
    "lda": solve_lda,
    "prototype": solve_prototype,
}


@families
@pytest.mark.parametrize(("n", "dim"), [(90, 6), (30, 80)], ids=["n > d", "n < d"])
def test_weights_are_those_of_the_definition(family: str, n: int, dim: int) -> None:
    pool, labels = noisy(n, dim, 4, distance=2.0)
    weights = np.random.default_rng(1).uniform(0.2, 3.0, size=n)
    base = version(family, pool, l2=8.0, class_weights={"class 1": 2.0})
    live = live_head(base, pool[:8], labels[:8], weights[:8])
    rest = zip(pool[8:], labels[8:], [None] * n, weights[8:].tolist(), strict=False)
    live.apply([Change(*change) for change in rest])
    assert base.front is not None
    names, targets = np.unique(labels, return_inverse=True)
    full = weights * np.where(np.array(labels) == "class 1", 2.0, 1.0)
    features = base.front.features(pool)
    weight, bias = SOLVERS[family](features, np.eye(len(names))[targets], full, 8.0)
    folded = base.front.fold(weight, bias)
    assert_same(live.head, Head(family, tuple(names), *folded, "f00d"))  # type: ignore[arg-type]


@all_families
@pytest.mark.parametrize(("n", "dim"), [(150, 6), (60, 120)], ids=["n > d", "n < d"])
def test_live_copy_of_unchanged_examples_is_the_trained_head(family: str, n: int, dim: int) -> None:
    pool, labels = noisy(n, dim, 3, distance=1.5)
    head = adapters.fit(pool, labels, HeadSpec(family), fingerprint="f00d").head
    live = live_head(head, pool, labels).head
    if family == "logistic":  # scores say the same when all are shifted
        probabilities = [h.probabilities(pool) for h in (live, head)]
        assert np.abs(probabilities[0] - probabilities[1]).max() < 1e-3
    else:
        assert_same(live, head)
    assert (live.temperature, live.l2, live.family) == (head.temperature, head.l2, head.family)
    assert live.front is head.front
