"""What a diagnosis finds is there, and what it says of smaller trainings is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import adapters
from adapters import Fitted, HeadSpec, Report
from adapters.diagnostics import MAX_COMPARED, MAX_LISTED, NEAR_DUPLICATE
from adapters.examples import Views
from adapters.spec import FAMILIES, Augmentation, NoveltySpec
from tests.adapters.data import blobs, noisy

Rows = NDArray[np.float32]


def diagnosed(embeddings: Rows, labels: Sequence[str], spec: HeadSpec | None = None) -> Fitted:
    fitted = adapters.fit(embeddings, labels, spec, fingerprint="f00d")
    return adapters.diagnose(fitted, embeddings, labels)


def report_of(embeddings: Rows, labels: Sequence[str], spec: HeadSpec | None = None) -> Report:
    return diagnosed(embeddings, labels, spec).report


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_agrees_with_the_estimate(family: str) -> None:
    embeddings, labels = noisy(150, 20, 3, distance=1.5)
    report = report_of(embeddings, labels, HeadSpec(family))
    assert report.evaluation is not None
    assert report.evaluation.estimate == report.estimate
    assert report.classes == report.evaluation.classes
    assert [sum(row) for row in report.evaluation.confusion] == [50, 50, 50]
    assert 0 < report.evaluation.expected_calibration_error < 0.2


@pytest.mark.parametrize(
    ("family", "splits"), [("ridge", 10), ("lda", 10), ("prototype", 10), ("logistic", 5)]
)
def test_learning_curve_is_the_accuracy_of_smaller_trainings(family: str, splits: int) -> None:
    data = load_digits()
    embeddings, labels = data.data.astype(np.float32), data.target.astype(str)
    spec, size, gaps = HeadSpec(family), 400, []
    for seed in range(splits):
        train, test = train_test_split(
            np.arange(len(labels)), train_size=size, stratify=labels, random_state=seed
        )
        curve = report_of(embeddings[train], labels[train].tolist(), spec).learning_curve
        assert [point.examples for point in curve] == [50, 100, 200, 400]
        for point in curve:
            some = train
            if point.examples < size:
                some, _ = train_test_split(
                    train, train_size=point.examples, stratify=labels[train], random_state=seed
                )
            fitted = adapters.fit(embeddings[some], labels[some].tolist(), spec, fingerprint="f00d")
            truth = adapters.evaluate(fitted.head, embeddings[test], labels[test].tolist())
            gaps.append(point.accuracy - truth.estimate.accuracy)
    by_size = np.reshape(gaps, (splits, 4))
    error = by_size.std(axis=0, ddof=1) / np.sqrt(splits)
    # A small part borrows the whole set's front and strength, which helps it a little.
    assert (np.abs(by_size.mean(axis=0)) <= np.array([0.02, 0.01, 0.01, 0.01]) + 2 * error).all()


def test_learning_curve_leaves_out_sizes_below_one_example_a_class() -> None:
    curve = report_of(*blobs(30, 8, 6)).learning_curve
    assert [point.examples for point in curve] == [8, 15, 30]


@pytest.mark.parametrize("used", ["examples", "average"])
def test_learning_curve_does_not_learn_from_views_of_what_it_is_measured_on(used: str) -> None:
    embeddings, labels = noisy(200, 300, 2, distance=0.0)
    views = Views(embeddings + np.float32(1e-3), np.arange(200))
    fitted = adapters.fit(
        embeddings, labels, HeadSpec("ridge", l2=1.0), fingerprint="f00d", views=views
    )
    assert fitted.report.augmentation is not None
    augmentation = replace(fitted.report.augmentation, used=used)
    forced = replace(fitted, report=replace(fitted.report, augmentation=augmentation))
    curve = adapters.diagnose(forced, embeddings, labels, views=views).report.learning_curve
    # Whoever had seen them would know nearly all labels, which are a coin's.
    assert len(curve) == 4
    assert all(0.35 < point.accuracy < 0.65 for point in curve)


def test_flipped_labels_are_listed_as_likely_mislabelled() -> None:
    embeddings, labels = blobs(300, 16, 3, distance=6.0)
    flipped = {7: labels[8], 100: labels[101], 222: labels[223]}
    given = [flipped.get(row, label) for row, label in enumerate(labels)]
    listed = report_of(embeddings, given).likely_mislabelled
    assert {entry.row for entry in listed[:3]} == set(flipped)
    for entry in listed[:3]:
        assert (entry.label, entry.predicted_label) == (given[entry.row], labels[entry.row])
        assert entry.label_probability < 0.1 < 0.9 < entry.predicted_probability
    leads = [entry.predicted_probability - entry.label_probability for entry in listed]
    assert leads == sorted(leads, reverse=True)


def test_only_contradicted_labels_are_listed_and_at_most_fifty() -> None:
    embeddings, labels = noisy(600, 20, 2, distance=0.2)
    listed = report_of(embeddings, labels).likely_mislabelled
    assert len(listed) == MAX_LISTED
    assert all(entry.predicted_probability > entry.label_probability for entry in listed)
    assert all(entry.label == labels[entry.row] != entry.predicted_label for entry in listed)


def test_near_duplicates_across_classes_are_listed_nearest_first() -> None:
    embeddings, labels = noisy(1500, 30, 3, distance=1.0)
    embeddings[1202] = 3 * embeddings[4]  # the same direction
    embeddings[8] = embeddings[0] * (1 + 0.01 * np.cos(np.arange(30)))
    embeddings[6] = embeddings[3]  # of one class
    found = report_of(embeddings, labels, HeadSpec("ridge", l2=1.0)).near_duplicates
    assert [{pair.row, pair.other_row} for pair in found] == [{4, 1202}, {0, 8}]
    assert found[0].similarity == pytest.approx(1)
    assert NEAR_DUPLICATE < found[1].similarity < found[0].similarity <= 1
    for pair in found:
        assert (pair.label, pair.other_label) == (labels[pair.row], labels[pair.other_row])


def test_at_most_fifty_near_duplicates_are_listed() -> None:
    embeddings, labels = noisy(1300, 5, 2, distance=0.0)
    embeddings[:] = embeddings[0]
    found = report_of(embeddings, labels, HeadSpec("prototype")).near_duplicates
    assert len(found) == MAX_LISTED


def test_the_order_of_examples_does_not_matter() -> None:
    embeddings, labels = noisy(160, 12, 3, distance=1.0)
    embeddings[1] = embeddings[0]
    spec = HeadSpec("ridge", seed=4, novelty=NoveltySpec(0.1))
    order = np.random.default_rng(0).permutation(160)
    one = diagnosed(embeddings, labels, spec)
    two = diagnosed(embeddings[order], [labels[row] for row in order], spec)
    assert one.report.evaluation == two.report.evaluation
    assert one.report.learning_curve == two.report.learning_curve
    assert one.report.novelty == two.report.novelty
    rows = [entry.row for entry in one.report.likely_mislabelled]
    assert rows == [order[entry.row] for entry in two.report.likely_mislabelled]
    assert one.head.conformal is not None
    assert two.head.conformal is not None
    assert np.array_equal(one.head.conformal.scores, two.head.conformal.scores)


def test_novelty_is_learned_only_where_it_is_asked_for_and_possible() -> None:
    embeddings, labels = noisy(200, 12, 2, distance=1.0)
    plain = diagnosed(embeddings, labels)
    assert (plain.head.novelty, plain.report.novelty) == (None, None)
    spec = HeadSpec(novelty=NoveltySpec(0.1, abstain=True))
    asked = diagnosed(embeddings, labels, spec)
    assert asked.head.novelty is not None
    assert asked.report.novelty is not None
    assert asked.report.novelty.abstain is asked.head.novelty.abstain is True
    assert asked.report.novelty.kept == len(asked.head.novelty.bank)
    assert asked.report.novelty.threshold == asked.head.novelty.threshold
    few = diagnosed(embeddings[:12], labels[:12], spec)
    assert (few.head.novelty, few.report.novelty) == (None, None)


def test_one_example_a_class_has_no_figures_but_a_head() -> None:
    embeddings, labels = blobs(3, 8, 3, distance=9.0)
    found = diagnosed(embeddings, labels, HeadSpec("prototype"))
    assert found.report.evaluation is None
    assert found.report.learning_curve == ()
    assert found.report.likely_mislabelled == ()
    assert found.head.conformal is None
    assert [c.precision for c in found.report.classes] == [None] * 3


def test_rare_classes_and_weights_do_no_harm() -> None:
    embeddings, labels = noisy(100, 10, 2, distance=1.0)
    labels[:2] = ["rare", "rare"]
    weights = np.random.default_rng(0).uniform(0.5, 2, 100)
    for family in FAMILIES:
        spec = HeadSpec(family, class_weight="balanced", augment=Augmentation(views=1))
        fitted = adapters.fit(embeddings, labels, spec, fingerprint="f00d", weights=weights)
        report = adapters.diagnose(fitted, embeddings, labels, weights=weights).report
        assert [point.examples for point in report.learning_curve] == [12, 25, 50, 100]
        assert all(0 <= point.accuracy <= 1 for point in report.learning_curve)


def test_progress_rises_to_the_end() -> None:
    embeddings, labels = noisy(60, 8, 2, distance=1.0)
    fitted = adapters.fit(embeddings, labels, fingerprint="f00d")
    reported: list[float] = []
    adapters.diagnose(
        fitted,
        embeddings,
        labels,
        progress=lambda share, phase, details=None: reported.append(share),
    )
    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == (0.0, 1.0)


def test_of_very_many_examples_a_sample_is_compared() -> None:
    rng = np.random.default_rng(0)
    embeddings = np.repeat(rng.normal(size=(MAX_COMPARED, 24)), 2, axis=0).astype(np.float32)
    labels = ["one", "other"] * MAX_COMPARED
    spec = HeadSpec("prototype", seed=3)
    found = report_of(embeddings, labels, spec).near_duplicates
    assert len(found) == MAX_LISTED
    assert all({pair.label, pair.other_label} == {"one", "other"} for pair in found)
    assert all(pair.row // 2 == pair.other_row // 2 for pair in found)
    assert found == report_of(embeddings, labels, spec).near_duplicates
