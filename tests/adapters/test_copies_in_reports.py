"""No part of a report takes copies for evidence: labels by lot stay labels by lot."""

from __future__ import annotations

import numpy as np
import pytest

import adapters
from adapters import HeadSpec
from tests.adapters.groups_data import photos, saved_again


@pytest.mark.parametrize("family", ["logistic", "ridge", "lda", "prototype", "auto"])
def test_curve_suspects_and_confidence_see_through_copies(family: str) -> None:
    points, sure, suspects = [], [], 0
    for seed in range(6):
        rows, labels, _ = saved_again(*photos(40, seed=seed), copies=5, seed=seed)
        spec = HeadSpec(family, seed=seed)
        fitted = adapters.fit(rows, labels, spec, fingerprint="f00d")
        found = adapters.diagnose(fitted, rows, labels)
        points += [point.accuracy for point in found.report.learning_curve]
        logits = found.head.logits(photos(200, seed=1000 + seed)[0]) / found.head.temperature
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        sure.append(float(np.mean(1 / shares.sum(axis=1))))
        suspects += len(found.report.likely_mislabelled)
    # Copies that were learned from would be recognised by heart.
    assert len(points) >= 18
    assert np.mean(points) < 0.62
    assert np.mean(sure) < 0.7
    assert suspects > 0
