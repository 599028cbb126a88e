"""What a live copy says of examples it has learned is what it would say without them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapters
from adapters import HeadSpec, InvalidArgument, UnknownLabel
from adapters.live import Change, live_head
from tests.adapters.data import blobs, noisy
from tests.adapters.live.versions import all_families, families, version


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


@all_families
def test_the_only_example_of_a_class_cannot_be_held_out(family: str) -> None:
    pool, labels = blobs(30, 6, 2, distance=8.0)
    live = live_head(version(family, pool), pool, [*labels[:-1], "only"])
    right = live.held_out(pool, [*labels[:-1], "only"])
    assert right[:-1].mean() > 0.9
    assert not right[-1]


@all_families
def test_held_out_of_pure_noise_is_no_better_than_chance(family: str) -> None:
    rng = np.random.default_rng(3)
    pool = rng.normal(size=(200, 400)).astype(np.float32)
    labels = [str(label) for label in rng.integers(0, 4, size=200)]
    live = live_head(version(family, pool, l2=0.1), pool, labels)
    right = live.held_out(pool, labels)
    assert right.dtype == np.bool_
    assert right.mean() < 0.4
    assert np.mean(live.head.logits(pool).argmax(axis=1) == np.array(labels, int)) > 0.9


def test_held_out_of_an_unknown_label_is_refused() -> None:
    pool, labels = blobs(20, 5, 2)
    live = live_head(version("ridge", pool), pool, labels)
    with pytest.raises(UnknownLabel):
        live.held_out(pool[:1], ["nobody"])


def test_logistic_held_out_is_near_fresh_data_and_not_near_its_fit() -> None:
    pool, labels = noisy(1200, 60, 4, distance=1.2)
    head = adapters.fit(pool[:200], labels[:200], HeadSpec("logistic"), fingerprint="f00d").head
    live = live_head(head, pool[:200], labels[:200])
    held_out = float(live.held_out(pool[:200], labels[:200]).mean())
    fresh = adapters.evaluate(live.head, pool[200:], labels[200:])
    assert held_out == pytest.approx(fresh.estimate.accuracy, abs=0.08)
    with pytest.raises(InvalidArgument, match="not learned"):
        live.held_out(pool[200:201], labels[200:201])
