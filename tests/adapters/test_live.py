"""Live copies: equal to a head trained anew, whatever came, went or was corrected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import adapters
from adapters import (
    Head,
    HeadSpec,
    InvalidArgument,
    InvalidEmbeddings,
    InvalidExamples,
    UnknownLabel,
)
from adapters.calibration import log_loss
from adapters.conformal import Conformal
from adapters.fronts import Front
from adapters.live import Change, LiveHead, live_head
from adapters.novelty import NoveltyBank
from tests.adapters.data import Embeddings, blobs, noisy

Array = NDArray[np.float64]

EXACT = ("ridge", "lda", "prototype")
LABELS = ("a", "b", "c", "d", "new")
TOLERANCE = 1e-6

families = pytest.mark.parametrize("family", EXACT)


def version(
    family: str,
    embeddings: Embeddings,
    *,
    l2: float = 3.0,
    kind: str = "standardise",
    class_weights: Mapping[str, float] | None = None,
) -> Head:
    """A head to move on from; of its weights a live copy makes no use."""
    front = Front.of(kind, embeddings, seed=5, unit=family == "prototype")
    return Head(
        family=family,
        labels=("a", "b"),
        weight=np.zeros((2, front.feature_count), np.float32),
        bias=np.zeros(2, np.float32),
        fingerprint="f00d",
        temperature=0.7,
        l2=None if family == "prototype" else l2,
        front=front,
        class_weights=class_weights or {},
    )


def assert_same(head: Head, other: Head, tolerance: float = TOLERANCE) -> None:
    """Check labels and, relative to their size, weights and biases."""
    assert head.labels == other.labels
    for name in ("weight", "bias"):
        one, two = (getattr(h, name).astype(np.float64) for h in (head, other))
        assert np.abs(one - two).max() <= tolerance * max(np.abs(two).max(), 1e-3), name


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
    weight = totals.sum() * np.linalg.solve(scatter, means.T).T
    bias = np.log(totals / totals.sum()) - np.sum(weight * means, axis=1) / 2
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


@pytest.mark.parametrize("family", [*EXACT, "logistic"])
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


@families
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(8, 40), dim=st.sampled_from([3, 10, 60]))
def test_held_out_is_leave_one_out_by_brute_force(family: str, seed: int, n: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(n, dim)).astype(np.float32)
    labels = [
        str(label) for label in rng.choice(["a", "b", "c", "rare"], n, p=[0.4, 0.3, 0.2, 0.1])
    ]
    weights = rng.uniform(0.3, 2.0, size=n)
    base = version(family, pool, l2=float(rng.uniform(0.1, 10.0)), class_weights={"a": 0.4})
    live = live_head(base, pool, labels, weights)
    right = live.held_out(pool, labels, weights)
    for row in range(n):
        live.apply([Change(pool[row], None, labels[row], weights[row])])
        expected = False
        if live.ready:
            scores = live.head.logits(pool[row][None])[0]
            runner_up, best = np.sort(scores)[-2:]
            predicted = live.head.labels[int(scores.argmax())]
            expected = predicted == labels[row]
            if best - runner_up < 1e-4 * max(1.0, float(np.abs(scores).max())):
                expected = bool(right[row])  # too close to call in float32
        assert right[row] == expected
        live.apply([Change(pool[row], labels[row], weight=weights[row])])


@pytest.mark.parametrize("family", [*EXACT, "logistic"])
def test_the_only_example_of_a_class_cannot_be_held_out(family: str) -> None:
    pool, labels = blobs(30, 6, 2, distance=8.0)
    live = live_head(version(family, pool), pool, [*labels[:-1], "only"])
    right = live.held_out(pool, [*labels[:-1], "only"])
    assert right[:-1].mean() > 0.9
    assert not right[-1]


@pytest.mark.parametrize("family", [*EXACT, "logistic"])
def test_held_out_of_pure_noise_is_no_better_than_chance(family: str) -> None:
    rng = np.random.default_rng(3)
    pool = rng.normal(size=(200, 400)).astype(np.float32)
    labels = [str(label) for label in rng.integers(0, 4, size=200)]
    live = live_head(version(family, pool, l2=0.1), pool, labels)
    right = live.held_out(pool, labels)
    assert right.dtype == np.bool_
    assert right.mean() < 0.4
    assert np.mean(live.head.logits(pool).argmax(axis=1) == np.array(labels, int)) > 0.9


@pytest.mark.parametrize("family", [*EXACT, "logistic"])
def test_classes_come_and_go_with_their_examples(family: str) -> None:
    pool, _ = blobs(10, 5, 2)
    live = live_head(version(family, pool), pool[:0], [])
    assert (live.ready, live.labels) == (False, ())
    live.apply([Change(pool[0], "b")])
    assert (live.ready, live.labels) == (False, ("b",))
    with pytest.raises(InvalidExamples):
        _ = live.head
    assert not live.held_out(pool[:1], ["b"]).any()
    live.apply([Change(pool[1], "a"), Change(pool[2], "c")])
    assert live.head.labels == ("a", "b", "c")
    live.apply([Change(pool[1], "c", "a"), Change(pool[2], None, "c")])
    assert_same(live.head, live_head(live.head, pool[:2], ["b", "c"]).head, 1e-4)
    live.apply([Change(pool[0], None, "b")])
    assert not live.ready
    assert live.labels == ("c",)


@pytest.mark.parametrize("family", [*EXACT, "logistic"])
def test_a_head_once_given_does_not_change(family: str) -> None:
    pool, labels = blobs(30, 8, 3)
    live = live_head(version(family, pool), pool[:20], labels[:20])
    before = live.head
    weight = before.weight.copy()
    live.apply([Change(pool[25], "another")])
    assert np.array_equal(before.weight, weight)
    assert live.head is not before
    assert "another" in live.head.labels


def test_what_else_belongs_to_the_version_is_kept() -> None:
    pool, labels = blobs(30, 8, 3)
    unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)
    base = replace(
        version("lda", pool, class_weights={"a": 2.0}),
        novelty=NoveltyBank(unit.astype(np.float16), 1, 0.5, True, 0.05),
        conformal=Conformal(np.array([0.1, 0.7], np.float32), 1.0),
    )
    head = live_head(base, pool, labels).head
    for name in ("novelty", "conformal", "front", "temperature", "l2", "fingerprint", "family"):
        assert getattr(head, name) is getattr(base, name)
    assert head.class_weights == base.class_weights


def test_a_changed_weight_is_the_new_one() -> None:
    pool, labels = blobs(30, 8, 3)
    base = version("ridge", pool)
    live = live_head(base, pool, labels, np.full(30, 2.0))
    live.apply([Change(pool[3], labels[4], labels[3], weight=0.5, old_weight=2.0)])
    labels[3] = labels[4]
    weights = np.full(30, 2.0)
    weights[3] = 0.5
    assert_same(live.head, live_head(base, pool, labels, weights).head)


def test_small_heads_take_little_memory() -> None:
    pool, labels = blobs(100, 1000, 4)
    live = live_head(version("ridge", pool), pool[:50], labels[:50])
    live.apply([Change(*pair) for pair in zip(pool[50:], labels[50:], strict=True)])
    assert live.nbytes < 4 * 100 * 1000 * 8 < 1000 * 1000 * 8


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        (Change(np.zeros(4), "a"), InvalidEmbeddings, "changes[1].embedding"),
        (Change(np.full(5, np.nan), "a"), InvalidEmbeddings, "changes[1].embedding"),
        (Change(np.zeros(5), None), InvalidArgument, "changes[1].label"),
        (Change(np.zeros(5), ""), InvalidArgument, "changes[1].label"),
        (Change(np.zeros(5), "a", weight=0.0), InvalidArgument, "changes[1].weight"),
        (Change(np.zeros(5), "a", "b", 1.0, -1.0), InvalidArgument, "changes[1].old_weight"),
        (Change(np.zeros(5), None, "nobody"), InvalidArgument, "changes[1].old_label"),
    ],
)
def test_a_senseless_change_is_refused_and_nothing_is_learned(
    change: Change, error: type[Exception], field: str
) -> None:
    pool, labels = blobs(20, 5, 2)
    live = live_head(version("ridge", pool), pool, labels)
    before = live.head
    with pytest.raises(error) as raised:
        live.apply([Change(pool[0], "a"), change])
    assert isinstance(raised.value, InvalidArgument)
    assert raised.value.field == field
    assert live.head is before
    assert live.updates == 0


@pytest.mark.parametrize("family", ["ridge", "lda", "logistic"])
def test_taking_out_a_stranger_is_refused_and_the_copy_stays_whole(family: str) -> None:
    pool, labels = blobs(20, 5, 2)
    base = version(family, pool, l2=1e-3)
    live = live_head(base, pool[:19], labels[:19])
    with pytest.raises(InvalidArgument, match="not learned"):
        live.apply([Change(pool[19], labels[19]), Change(1000 * pool[3], None, labels[3])])
    assert_same(live.head, live_head(base, pool, labels).head, 1e-4)


@pytest.mark.parametrize(
    ("embeddings", "labels", "weights", "field"),
    [
        (np.zeros((2, 4)), ["a", "b"], None, "embeddings"),
        (np.zeros((2, 5)), ["a"], None, "labels"),
        (np.zeros((2, 5)), ["a", ""], None, "labels"),
        (np.array([[0.0] * 5, [np.inf] * 5]), ["a", "b"], None, "embeddings[1]"),
        (np.zeros((2, 5)), ["a", "b"], [1.0], "weights"),
        (np.zeros((2, 5)), ["a", "b"], [1.0, 0.0], "weights[1]"),
    ],
)
def test_examples_that_make_no_sense_are_refused_by_name(
    embeddings: Array, labels: list[str], weights: list[float] | None, field: str
) -> None:
    pool, _ = blobs(20, 5, 2)
    with pytest.raises(InvalidArgument) as raised:
        live_head(version("ridge", pool), embeddings, labels, weights)
    assert raised.value.field == field


def test_held_out_of_an_unknown_label_is_refused() -> None:
    pool, labels = blobs(20, 5, 2)
    live = live_head(version("ridge", pool), pool, labels)
    with pytest.raises(UnknownLabel):
        live.held_out(pool[:1], ["nobody"])


@pytest.mark.parametrize("missing", ["front", "l2", "family"])
def test_a_head_trained_elsewhere_has_no_live_copy(missing: str) -> None:
    pool, labels = blobs(20, 5, 2)
    known: dict[str, Any] = {
        "family": "ridge",
        "l2": 1.0,
        "front": Front.of("standardise", pool),
    }
    known[missing] = "imported" if missing == "family" else None
    zeros = np.zeros((2, 5), np.float32)
    head = Head(labels=("a", "b"), weight=zeros, bias=zeros[:, 0], fingerprint="f00d", **known)
    with pytest.raises(InvalidArgument) as raised:
        live_head(head, pool, labels)
    assert raised.value.field == "head"


def test_a_weight_of_two_is_the_example_twice_to_logistic_regression() -> None:
    pool, labels = noisy(60, 5, 3, distance=1.0)
    base = version("logistic", pool)
    live = live_head(base, pool, labels)
    live.apply([Change(*pair) for pair in zip(pool[:20], labels[:20], strict=True)])
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    assert_same(live.head, live_head(base, pool, labels, weights).head, 1e-3)


@pytest.mark.parametrize(("n", "dim"), [(240, 10), (90, 150)], ids=["n > d", "n < d"])
def test_logistic_lands_near_its_retrained_self(n: int, dim: int) -> None:
    pool, labels = noisy(n, dim, 4, distance=1.5)
    rng = np.random.default_rng(0)
    half = n // 2
    head = adapters.fit(pool, labels, HeadSpec("logistic"), fingerprint="f00d").head
    live = live_head(head, pool[:half], labels[:half])
    given = labels[:half]
    for row in range(half, n, 5):
        rows = range(row, min(row + 5, n))
        changed = int(rng.integers(0, half))
        fresh = labels[int(rng.integers(0, n))]
        live.apply(
            [Change(pool[r], labels[r]) for r in rows]
            + [Change(pool[changed], fresh, given[changed])]
        )
        given[changed] = fresh
    live.apply([Change(pool[row], None, given[row]) for row in range(10)])
    final = given[10:] + labels[half:]
    expected = live_head(head, pool[10:], final).head
    targets = expected.class_indices(final)
    losses = [
        log_loss(h.logits(pool[10:]), targets, head.temperature) for h in (live.head, expected)
    ]
    assert live.head.labels == expected.labels
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_logistic_held_out_is_near_fresh_data_and_not_near_its_fit() -> None:
    pool, labels = noisy(1200, 60, 4, distance=1.2)
    head = adapters.fit(pool[:200], labels[:200], HeadSpec("logistic"), fingerprint="f00d").head
    live = live_head(head, pool[:200], labels[:200])
    held_out = float(live.held_out(pool[:200], labels[:200]).mean())
    fresh = adapters.evaluate(live.head, pool[200:], labels[200:])
    assert held_out == pytest.approx(fresh.estimate.accuracy, abs=0.08)
    with pytest.raises(InvalidArgument, match="not learned"):
        live.held_out(pool[200:201], labels[200:201])
