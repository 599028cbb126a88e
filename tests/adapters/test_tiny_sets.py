"""No small or odd set of examples makes a training fail: it is learned, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.diagnostics import diagnose
from adapters.errors import InvalidExamples
from adapters.examples import Views
from adapters.spec import AUTO, FAMILIES, FRONTS, Augmentation, HeadSpec, NoveltySpec
from adapters.training import fit


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([AUTO, *FAMILIES]), st.sampled_from(FRONTS))
@example(56, "logistic", "projection")
@example(86, "logistic", "projection")
@example(125, "ridge", "projection")
@example(50, "lda", "projection")
def test_two_to_ten_examples_are_learned_or_refused(seed: int, family: str, front: str) -> None:
    check(seed, family, front)


@pytest.mark.long
@pytest.mark.parametrize("family", [AUTO, *FAMILIES])
def test_a_thousand_tiny_sets_are_learned_or_refused(family: str) -> None:
    for seed in range(1000):
        check(seed, family, FRONTS[seed % len(FRONTS)])


def check(seed: int, family: str, front: str) -> None:
    """Learn from few rows, many of them equal, with weights, groups and views or without."""
    rng = np.random.default_rng(seed)
    n, dim = int(rng.integers(2, 11)), int(rng.choice([1, 2, 4, 16]))
    scale, offset = rng.choice([0.0, 1e-3, 1.0, 1e3]), rng.choice([0.0, 0.0, 1.0, 100.0, 1e6])
    pool = offset + scale * rng.normal(size=(int(rng.integers(1, n + 1)), dim))
    rows = pool[rng.integers(0, len(pool), n)].astype(rng.choice(["f4", "f8"]))
    labels = [f"class {target}" for target in rng.integers(0, rng.integers(2, 5), n)]
    weights = 10 ** rng.uniform(-6, 6, n) if rng.random() < 0.5 else None
    groups = [f"group {rng.integers(0, 3)}" if rng.random() < 0.7 else None for _ in labels]
    owners = np.sort(rng.integers(0, n, int(rng.integers(1, n + 1))))
    views = Views(rows[owners].astype(float), owners) if rng.random() < 0.3 else None
    spec = HeadSpec(
        family=family,
        front=front,
        class_weight="balanced" if rng.random() < 0.3 else None,
        novelty=NoveltySpec() if rng.random() < 0.3 else None,
        augment=Augmentation(views=2 if rng.random() < 0.3 else 0),
    )
    names = groups if rng.random() < 0.6 else None
    try:
        fitted = fit(
            rows, labels, spec, fingerprint="f00d", weights=weights, views=views, groups=names
        )
    except InvalidExamples:  # fewer than two classes, or two examples of none
        return
    fitted = diagnose(fitted, rows, labels, weights=weights, views=views)
    assert np.isfinite(fitted.head.logits(rows)).all()
    estimate = fitted.report.estimate
    if estimate is not None:
        assert np.isfinite(estimate.log_loss)
        assert estimate.accuracy_low <= estimate.accuracy + 1e-9
        assert estimate.accuracy <= estimate.accuracy_high + 1e-9
