"""Prototypes are class means, compared by cosine."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

import adapters
from adapters import HeadSpec
from adapters.families.prototype import PrototypeFit
from tests.adapters.data import blobs, problem_of


@pytest.mark.parametrize("shape", [(5, 20, 5), (30, 8, 3)], ids=str)
def test_logits_are_cosines_with_the_mean_of_unit_features(shape: tuple[int, int, int]) -> None:
    embeddings, labels = blobs(*shape)
    head = adapters.fit(embeddings, labels, HeadSpec("prototype"), fingerprint="f00d").head
    assert head.front is not None
    features = head.front.features(embeddings)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0)
    targets = head.class_indices(labels)
    means = np.stack([features[targets == target].mean(axis=0) for target in range(shape[2])])
    expected = cosine_similarity(features, means)
    np.testing.assert_allclose(head.logits(embeddings), expected, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("views", [0, 2])
def test_leaving_folds_out_equals_brute_force(weighted: bool, views: int) -> None:
    problem = problem_of((30, 8, 3), weighted=weighted, views=views)
    folds = problem.deal(5)
    expected = np.empty((problem.n, problem.classes))
    for example, row in enumerate(problem.originals):
        kept = folds != folds[row]
        owner = (problem.one_hot * problem.weights[:, None])[kept]
        means = owner.T @ problem.features[kept]
        directions = means / np.linalg.norm(means, axis=1, keepdims=True)
        expected[example] = directions @ problem.features[row]
    np.testing.assert_allclose(PrototypeFit(problem).held_out(None, folds), expected, atol=1e-9)


def test_length_of_an_embedding_does_not_matter_behind_unit_length() -> None:
    embeddings, labels = blobs(30, 8, 3)
    spec = HeadSpec("prototype", front="normalise")
    head = adapters.fit(embeddings, labels, spec, fingerprint="f00d").head
    scores = head.logits(embeddings)
    np.testing.assert_allclose(head.logits(100 * embeddings), scores, atol=1e-4)
