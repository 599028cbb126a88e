"""Views are used where they help, and never let an estimate see its own example."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import adapters
from adapters import Augmentation, Fitted, HeadSpec, InvalidExamples, Views
from adapters.families import REGISTRY
from tests.adapters.data import blobs, noisy, problem_of

Embeddings = NDArray[np.float32]

families = pytest.mark.parametrize("family", REGISTRY)


def copies(embeddings: Embeddings, count: int, noise: float, seed: int = 0) -> Views:
    rows = np.tile(np.arange(len(embeddings)), count)
    noises = np.random.default_rng(seed).normal(size=(len(rows), embeddings.shape[1]))
    return Views((embeddings[rows] + noise * noises).astype(np.float32), rows)


def learn(family: str, embeddings: Embeddings, labels: list[str], views: Views | None) -> Fitted:
    spec = HeadSpec(family, l2=2.0)
    return adapters.fit(embeddings, labels, spec, fingerprint="f00d", views=views)


@families
def test_views_do_not_let_an_estimate_see_its_own_example(family: str) -> None:
    """Labels are coin flips, so a head that beats chance has seen an example's view."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(120, 200)).astype(np.float32)
    labels = rng.permutation(["heads", "tails"] * 60).tolist()
    fitted = learn(family, embeddings, labels, copies(embeddings, 3, 0.01))
    report = fitted.report.augmentation
    assert report is not None
    assert fitted.report.estimate is not None
    guesses = (report.without, report.as_examples, report.averaged, fitted.report.estimate)
    assert all(guess is not None and guess.accuracy < 0.65 for guess in guesses)
    assert adapters.evaluate(fitted.head, embeddings, labels).estimate.accuracy > 0.9


@pytest.mark.parametrize("count", [2, 5, 30])
def test_all_views_of_an_example_are_in_its_fold(count: int) -> None:
    problem = problem_of((30, 8, 3), views=4)
    folds = problem.deal(count)
    assert problem.rows == 150
    for example in range(30):
        assert len(set(folds[problem.groups == example])) == 1
    assert len(set(folds)) == count


@families
def test_exact_copies_as_views_change_nothing(family: str) -> None:
    """Each example keeps its weight, however many views it has."""
    embeddings, labels = blobs(30, 10, 3)
    some = np.repeat(np.arange(10), 4)
    fitted = learn(family, embeddings, labels, Views(embeddings[some], some))
    plain = learn(family, embeddings, labels, None)
    np.testing.assert_allclose(
        fitted.head.probabilities(embeddings), plain.head.probabilities(embeddings), atol=2e-3
    )
    report = fitted.report.augmentation
    assert report is not None
    assert (report.views, report.augmented_examples) == (4, 10)


@pytest.mark.parametrize("family", ["ridge", "lda", "auto"])
def test_views_are_used_where_they_tell_signal_from_nuisance(family: str) -> None:
    """What matters is in 4 directions; views vary the 60 others, as another crop would."""
    rng = np.random.default_rng(0)
    targets = np.arange(440) % 4
    signal = np.eye(4)[targets] + 0.5 * rng.normal(size=(440, 4))
    embeddings = np.hstack([signal, rng.normal(size=(440, 60))])
    labels = [f"class {target}" for target in targets]
    rows = np.repeat(np.arange(40), 8)
    noisy = np.hstack([signal[rows], rng.normal(size=(320, 60))])
    plain, augmented = (
        adapters.fit(
            embeddings[:40], labels[:40], HeadSpec(family), fingerprint="f00d", views=views
        )
        for views in (None, Views(noisy, rows))
    )
    report = augmented.report.augmentation
    assert report is not None
    assert report.used in ("examples", "average")
    used = report.as_examples if report.used == "examples" else report.averaged
    assert used is not None
    assert used.log_loss < report.without.log_loss
    before, after = (
        adapters.evaluate(fitted.head, embeddings[40:], labels[40:]).estimate.accuracy
        for fitted in (plain, augmented)
    )
    assert after > before + 0.05


@families
def test_views_that_mislead_are_not_used(family: str) -> None:
    embeddings, labels = blobs(60, 10, 3)
    rows = np.repeat(np.arange(60), 3)
    other = np.roll(embeddings, 1, axis=0)[rows]
    fitted = learn(family, embeddings, labels, Views(other, rows))
    plain = learn(family, embeddings, labels, None)
    assert fitted.report.augmentation is not None
    assert fitted.report.augmentation.used == "none"
    np.testing.assert_allclose(fitted.head.weight, plain.head.weight, rtol=1e-3, atol=1e-4)
    assert fitted.report.example_count == 60


def test_estimates_with_and_without_views_are_those_of_the_same_folds() -> None:
    embeddings, labels = noisy(90, 20, 3, distance=1.5)
    report = learn("lda", embeddings, labels, copies(embeddings, 2, 0.5)).report.augmentation
    assert report is not None
    assert report.as_examples is not None
    assert report.averaged is not None
    methods = {report.without.method, report.as_examples.method, report.averaged.method}
    assert len(methods) == 1


def test_spec_asks_for_noisy_copies_where_there_are_no_views() -> None:
    embeddings, labels = blobs(30, 10, 3)
    spec = HeadSpec("ridge", augment=Augmentation(views=5, noise=0.2), seed=4)
    one, other = (adapters.fit(embeddings, labels, spec, fingerprint="f00d") for _ in range(2))
    assert one.report.augmentation is not None
    assert (one.report.augmentation.views, one.report.augmentation.augmented_examples) == (5, 30)
    assert one.head.weight.tobytes() == other.head.weight.tobytes()
    assert one.report == other.report
    assert learn("ridge", embeddings, labels, None).report.augmentation is None


def test_order_of_examples_and_views_does_not_matter() -> None:
    embeddings, labels = noisy(40, 15, 2, distance=1.5)
    views = copies(embeddings, 3, 0.5)
    order = np.random.default_rng(5).permutation(40)
    mixed = np.random.default_rng(6).permutation(len(views.rows))
    moved = Views(views.embeddings[mixed], np.argsort(order)[views.rows[mixed]])
    one = learn("lda", embeddings, labels, views)
    other = learn("lda", embeddings[order], [labels[i] for i in order], moved)
    np.testing.assert_allclose(other.head.weight, one.head.weight, rtol=1e-5, atol=1e-6)
    assert other.report.augmentation == one.report.augmentation


BAD: dict[str, tuple[Any, Any, str]] = {
    "another width": (np.zeros((2, 9)), np.array([0, 1]), "views"),
    "a row short": (np.zeros((2, 10)), np.array([0]), "views"),
    "one axis": (np.zeros(10), np.array([0]), "views"),
    "nan": (np.full((2, 10), np.nan), np.array([0, 1]), "views.embeddings[0]"),
    "a row too far": (np.zeros((2, 10)), np.array([0, 30]), "views.rows"),
    "a row before": (np.zeros((2, 10)), np.array([-1, 0]), "views.rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_views_name_their_field(case: str) -> None:
    embeddings, rows, field = BAD[case]
    with pytest.raises(InvalidExamples) as caught:
        learn("ridge", *blobs(30, 10, 3), Views(embeddings, rows))
    assert caught.value.field == field
