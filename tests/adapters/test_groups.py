"""What belongs together is held out together, and counts once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapters
from adapters import HeadSpec, InvalidExamples
from adapters.estimate import wilson_interval
from adapters.folds import grouped_folds, stratified_folds
from adapters.groups import Groups, effective_count, groups_by_class, held_out
from adapters.spec import FAMILIES
from tests.adapters.data import blobs
from tests.adapters.groups_data import photos, saved_again


def fit(
    embeddings: np.ndarray,
    labels: list[str],
    spec: HeadSpec | None = None,
    groups: Sequence[str | None] | None = None,
) -> adapters.Fitted:
    fitted = adapters.fit(embeddings, labels, spec, fingerprint="f00d", groups=groups)
    return adapters.diagnose(fitted, embeddings, labels)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_groups_share_a_fold_and_every_training_part_knows_every_class(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 5))
    random = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    n = data.draw(st.integers(classes, 60))
    targets = np.concatenate([np.arange(classes), random.integers(0, classes, n)])
    names = random.integers(0, data.draw(st.integers(1, n)), len(targets))
    groups = np.unique(names, return_inverse=True)[1]
    held = held_out(targets, groups, classes)
    several = groups_by_class(targets, groups, classes) > 1
    assert not held[~several[targets]].any()
    for group in np.unique(groups):
        assert len(set(held[groups == group])) == 1
    different = len(np.unique(groups[held]))
    if different < 2:
        return
    folds = grouped_folds(targets, groups, held, data.draw(st.integers(2, different)), seed=0)
    assert (folds[~held] == -1).all()
    assert set(folds[held]) == set(range(folds.max() + 1))
    for group in np.unique(groups):
        assert len(set(folds[groups == group])) == 1
    for fold in range(folds.max() + 1):
        assert set(targets[folds != fold]) == set(targets)


@given(n=st.integers(8, 80), classes=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_examples_that_are_alone_are_dealt_as_they_always_were(
    n: int, classes: int, seed: int
) -> None:
    targets = np.arange(n) % classes
    everyone = np.ones(n, dtype=bool)
    dealt = grouped_folds(targets, np.arange(n), everyone, min(n, 5), seed)
    assert dealt.tolist() == stratified_folds(targets, min(n, 5), seed).tolist()


@pytest.mark.parametrize("family", ["auto", *FAMILIES])
def test_names_that_all_differ_change_nothing(family: str) -> None:
    embeddings, labels = blobs(80, 24, 3)
    plain = fit(embeddings, labels, HeadSpec(family))
    named = fit(embeddings, labels, HeadSpec(family), [f"own {row}" for row in range(80)])
    assert plain.report.estimate == named.report.estimate
    assert plain.report.evaluation == named.report.evaluation
    np.testing.assert_array_equal(plain.head.weight, named.head.weight)
    assert plain.head.conformal is not None
    assert named.head.conformal is not None
    np.testing.assert_array_equal(plain.head.conformal.scores, named.head.conformal.scores)
    assert plain.report.estimate is not None
    assert (plain.report.estimate.groups, plain.report.estimate.effective_examples) == (80, 80)


def test_effective_number_is_that_of_groups_of_one_size_and_less_otherwise() -> None:
    assert effective_count(np.repeat(np.arange(16), 5)) == pytest.approx(16)
    assert effective_count(np.arange(7)) == 7
    assert effective_count(np.array([0, 0, 0, 1])) == pytest.approx(16 / 10)


def test_interval_of_copies_is_that_of_the_photos() -> None:
    rows, labels, names = saved_again(*photos(16, seed=3), copies=5)
    for groups in (None, names):
        report = fit(rows, labels, HeadSpec("ridge"), groups).report
        assert report.estimate is not None
        assert (report.estimate.examples, report.estimate.groups) == (80, 16)
        share = report.estimate.accuracy
        low, high = wilson_interval(16 * share, 16)
        assert (report.estimate.accuracy_low, report.estimate.accuracy_high) == (low, high)
        assert report.groups is not None
        assert (report.groups.count, report.groups.near_copies_within) == (16, 80)
        assert report.groups.named == (16 if groups else 0)


def test_a_named_group_and_the_near_copies_of_its_members_are_one() -> None:
    embeddings, _ = photos(40, seed=1)
    embeddings[30] = embeddings[3] * 1.001
    names: list[str | None] = [None] * 40
    names[3] = names[4] = "scene"
    found = Groups.find(embeddings, np.arange(40) % 2, names)
    assert found.numbers[3] == found.numbers[4] == found.numbers[30]
    assert found.count == 38
    assert (found.named, found.across) == (1, 2)


def test_a_named_group_is_never_parted_however_large() -> None:
    embeddings, _ = photos(40)
    names = ["film" if row < 30 else None for row in range(40)]
    found = Groups.find(embeddings, np.arange(40) % 2, names)
    assert len(set(found.numbers[:30])) == 1
    assert (found.count, found.parted) == (11, 0)


def test_names_for_fewer_examples_are_refused() -> None:
    with pytest.raises(InvalidExamples, match="3 groups for 20 examples"):
        adapters.fit(*blobs(20, 8, 2), fingerprint="f00d", groups=["a", "b", "c"])


@pytest.mark.parametrize("family", ["auto", *FAMILIES])
def test_a_misspelt_class_costs_itself_alone(family: str) -> None:
    embeddings, labels = photos(90, classes=3, distance=12.0)
    names = {"class 0": "five", "class 1": "six", "class 2": "seven"}
    labels = [names[label] for label in labels]
    clean = fit(embeddings, labels, HeadSpec(family)).report
    spelt = [*labels]
    spelt[labels.index("seven")] = "sevn"
    fitted = fit(embeddings, spelt, HeadSpec(family))
    report = fitted.report
    assert report.estimate is not None
    assert clean.estimate is not None
    assert report.estimate.examples == 89
    assert report.estimate.accuracy >= clean.estimate.accuracy - 0.05
    assert fitted.head.labels == ("five", "seven", "sevn", "six")
    single = next(one for one in report.classes if one.label == "sevn")
    assert (single.examples, single.groups, single.recall, single.precision) == (1, 1, None, None)
    assert single.no_estimate == "it has a single example"
    (warning,) = report.warnings
    assert "'sevn'" in warning
    assert "Was 'seven' meant?" in warning
    assert fitted.head.conformal is not None
    assert json.loads(json.dumps(report.to_json())) is not None


def test_a_class_in_one_group_is_learned_and_has_no_estimate() -> None:
    embeddings, labels = photos(60, classes=3, distance=12.0)
    names = [f"{label}" if label == "class 2" else None for label in labels]
    fitted = fit(embeddings, labels, groups=names)
    report = fitted.report
    assert report.estimate is not None
    assert report.estimate.examples == 40
    assert [one.no_estimate != "" for one in report.classes] == [False, False, True]
    assert report.evaluation is not None
    assert sum(report.evaluation.confusion[2]) == 0
    known = fitted.head.class_indices(labels)
    assert (fitted.head.logits(embeddings).argmax(axis=1) == known).mean() > 0.9


def test_classes_of_one_group_each_give_no_estimate_at_all() -> None:
    embeddings, labels = photos(40, distance=12.0)
    report = fit(embeddings, labels, groups=list(labels)).report
    assert (report.family, report.estimate) == ("prototype", None)
    assert "There is no estimate" in report.warnings[0]
    assert report.warnings[0].endswith("0 of 2 do.")
    asked = fit(embeddings, labels, HeadSpec("ridge"), list(labels)).report
    assert (asked.family, asked.estimate) == ("ridge", None)


def test_two_examples_of_two_classes_are_what_a_family_needs() -> None:
    embeddings, labels = blobs(6, 8, 3)
    with pytest.raises(InvalidExamples, match="at least 2 are needed of 2 labels"):
        adapters.fit(embeddings[:4], labels[:4], HeadSpec("ridge"), fingerprint="f00d")
    fitted = adapters.fit(embeddings[:5], labels[:5], HeadSpec("ridge"), fingerprint="f00d")
    assert [one.examples for one in fitted.report.classes] == [2, 2, 1]


def test_conformal_scores_count_groups_alike() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    copies = np.repeat(np.arange(40), 5)
    plain = adapters.Conformal.of(logits, targets, 1.0)
    several = adapters.Conformal.of(logits[copies], targets[copies], 1.0, copies)
    np.testing.assert_array_equal(plain.scores, several.scores)


def test_novelty_is_not_calibrated_on_copies_of_what_is_kept() -> None:
    rows, labels, _ = saved_again(*photos(40, seed=5), copies=5, noise=0.02)
    targets = np.unique(labels, return_inverse=True)[1]
    fresh, _ = photos(200, seed=6)
    spec = adapters.NoveltySpec(0.1)
    groups = np.repeat(np.arange(40), 5)
    alone = adapters.NoveltyBank.of(rows, targets, spec, 0)
    grouped = adapters.NoveltyBank.of(rows, targets, spec, 0, groups)
    assert alone is not None
    assert grouped is not None
    assert np.mean(alone.scores(fresh) > 1) > 0.5
    assert np.mean(grouped.scores(fresh) > 1) < 0.25
