"""Live logistic regression lands where training anew would."""

from __future__ import annotations

import numpy as np
import pytest

import adapters
from adapters import HeadSpec
from adapters.calibration import log_loss
from adapters.live import Change, live_head
from tests.adapters.data import noisy
from tests.adapters.live.versions import assert_same, version


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
