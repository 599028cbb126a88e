"""Measuring heads on held-out examples that they have not seen in another form."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.estimate import evaluate
from adapters.held_out_set import (
    UNKNOWN_PROBABILITY,
    HeldOutResult,
    LabelledRows,
    disagreement,
    measure,
)
from adapters.report import Estimate
from adapters.spec import HeadSpec
from adapters.training import fit
from tests.adapters.data import blobs

ROWS, LABELS = blobs(180, 8, 3, distance=6)
TRAINED = LabelledRows(ROWS[:90], LABELS[:90])
HEAD = fit(
    TRAINED.embeddings, TRAINED.labels, HeadSpec(family="ridge", seed=3), fingerprint="f00d"
).head


def measured(held_out: LabelledRows, trained: LabelledRows = TRAINED) -> HeldOutResult:
    found = measure(HEAD, held_out, trained)
    assert found is not None
    return found


def test_strangers_are_all_measured_on() -> None:
    found = measured(LabelledRows(ROWS[90:], LABELS[90:]))
    assert found.left_out == ()
    assert found.evaluation == evaluate(HEAD, ROWS[90:], LABELS[90:])
    assert measure(HEAD, LabelledRows(ROWS[:0], []), TRAINED) is None


def test_near_copies_of_what_was_trained_on_are_left_out() -> None:
    copies = ROWS[:3] + 1e-4
    found = measured(LabelledRows(np.concatenate([copies, ROWS[90:]]), [*"xyz", *LABELS[90:]]))
    assert found.left_out == (0, 1, 2)
    assert found.evaluation == evaluate(HEAD, ROWS[90:], LABELS[90:])


def test_members_of_a_trained_group_are_left_out() -> None:
    trained = LabelledRows(ROWS[:90], LABELS[:90], ["roll 1", *[None] * 89])
    names = ["roll 1", "roll 2", *[None] * (len(ROWS) - 92)]
    assert measured(LabelledRows(ROWS[90:], LABELS[90:], names), trained).left_out == (0,)


def test_where_all_are_known_there_is_no_figure() -> None:
    found = measured(LabelledRows(ROWS[:5], LABELS[:5]))
    assert (found.evaluation, found.left_out) == (None, (0, 1, 2, 3, 4))


def test_copies_among_the_held_out_count_once_in_the_interval() -> None:
    few, five_times = ROWS[100:116], np.repeat(ROWS[100:116], 5, axis=0)
    labels = LABELS[100:116]
    once = measured(LabelledRows(few, labels)).evaluation
    often = measured(
        LabelledRows(five_times + 1e-5, [label for label in labels for _ in range(5)])
    ).evaluation
    assert once is not None
    assert often is not None
    assert often.estimate.accuracy == once.estimate.accuracy
    assert often.estimate.accuracy_low == pytest.approx(once.estimate.accuracy_low)


def test_labels_that_a_head_lacks_count_as_wrong() -> None:
    known = measured(LabelledRows(ROWS[90:], LABELS[90:])).evaluation
    assert known is not None
    strange = np.random.default_rng(5).normal(size=(2, 8)) * 3
    rows = np.concatenate([ROWS[90:], strange])
    found = measured(LabelledRows(rows, [*LABELS[90:], "z", "y"])).evaluation
    assert found is not None
    n, right = len(LABELS[90:]), known.estimate.accuracy * len(LABELS[90:])
    assert found.estimate.accuracy == pytest.approx(right / (n + 2))
    floor = -2 * np.log(UNKNOWN_PROBABILITY)
    loss = (known.estimate.log_loss * n + floor) / (n + 2)
    assert found.estimate.log_loss == pytest.approx(loss, rel=1e-5)
    assert [(item.label, item.recall) for item in found.classes[3:]] == [("y", 0), ("z", 0)]
    assert np.array(found.confusion).sum(axis=0)[3:].tolist() == [0, 0]


def estimated(accuracy: float, n: float, optimism: float = 0.0) -> Estimate:
    return Estimate("m", accuracy, 0.0, 1.0, 0.0, int(n), int(n), n, optimism)


def test_difference_that_chance_explains_is_not_remarked_upon() -> None:
    assert disagreement(estimated(0.96, 100), estimated(0.90, 100)) is None
    assert disagreement(None, estimated(0.5, 100)) is None
    assert disagreement(estimated(0.9, 100), None) is None


def test_optimism_that_is_known_is_no_difference() -> None:
    assert disagreement(estimated(0.90, 400), estimated(0.80, 400)) is not None
    assert disagreement(estimated(0.90, 400, optimism=0.05), estimated(0.80, 400)) is None


def test_difference_beyond_chance_is_remarked_upon_and_both_sizes_count() -> None:
    told = disagreement(estimated(0.96, 100), estimated(0.57, 40))
    assert told is not None
    assert "57.0%" in told
    assert "96.0%" in told
    assert disagreement(estimated(0.96, 16), estimated(0.57, 8)) is None


def test_remarks_are_made_in_one_of_a_hundred_cases_of_equal_accuracy() -> None:
    random = np.random.default_rng(0)
    shares = random.binomial([200, 300], 0.8, size=(4000, 2)) / [200, 300]
    told = [
        disagreement(estimated(one, 200), estimated(other, 300)) is not None
        for one, other in shares.tolist()
    ]
    assert np.mean(told) == pytest.approx(0.01, abs=0.005)
