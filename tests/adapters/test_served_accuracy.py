"""The interval holds the accuracy of all that was served, whatever kept people from judging."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adapters.errors import InvalidArgument
from adapters.served_accuracy import Accuracy, Served, accuracy, by_class, exact_interval

LABELS = ("cat", "dog", "owl")
SERVED = st.builds(
    lambda predicted, judged, label, count: Served(
        predicted, judged, label if judged else None, count
    ),
    st.sampled_from([*LABELS, None]),
    st.booleans(),
    st.sampled_from([*LABELS, None]),
    st.integers(0, 30),
)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0)]
)
def test_interval_equals_published_values(right: int, n: int, low: float, high: float) -> None:
    assert exact_interval(right, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 500), data=st.data())
@settings(max_examples=100, deadline=None)
def test_interval_equals_scipy(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    expected = scipy.stats.binomtest(right, n).proportion_ci(0.95, method="exact")
    assert exact_interval(right, n) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_interval_of_nothing_is_everything() -> None:
    assert exact_interval(0, 0) == (0.0, 1.0)
    assert accuracy([]).share.value is None


@pytest.mark.parametrize(("right", "n"), [(-1, 3), (4, 3)])
def test_interval_refuses_more_right_ones_than_there_are(right: int, n: int) -> None:
    with pytest.raises(InvalidArgument, match="right must be from 0 to 3"):
        exact_interval(right, n)


@given(
    n=st.integers(1, 25),
    p=st.floats(0, 1),
    judged_if_right=st.floats(0, 1),
    judged_if_wrong=st.floats(0, 1),
)
@settings(max_examples=100, deadline=None)
def test_interval_holds_the_accuracy_of_traffic_that_is_judged_by_choice(
    n: int, p: float, judged_if_right: float, judged_if_wrong: float
) -> None:
    """Whether somebody judges may depend on what is right: all outcomes are weighed, none drawn."""
    chances = [p * judged_if_right, (1 - p) * judged_if_wrong]
    chances.append(max(0.0, 1 - sum(chances)))
    counts = [
        (right, wrong, n - right - wrong)
        for right in range(n + 1)
        for wrong in range(n + 1 - right)
    ]
    shares = [counted(*each).share for each in counts]
    weights = scipy.stats.multinomial.pmf(np.array(counts), n, chances)
    held = sum(
        weight
        for weight, share in zip(weights, shares, strict=True)
        if share.low <= p <= share.high
    )
    assert held >= 0.95 - 1e-9


@pytest.mark.parametrize("junk_share", [0.0, 0.2])
@pytest.mark.parametrize("judged", [(0.9, 0.5), (0.5, 0.9)], ids=["easy", "hard"])
def test_intervals_of_classes_hold_precision_and_recall_of_simulated_traffic(
    junk_share: float, judged: tuple[float, float]
) -> None:
    """Reviewers judge what is easy, or what is hard, and throw away some junk; the rest waits."""
    random = np.random.default_rng(7)
    confusion = np.array([[0.85, 0.10, 0.05], [0.20, 0.70, 0.10], [0.05, 0.25, 0.70]])
    shares = np.array([0.6, 0.3, 0.1])
    joint = shares[:, None] * confusion
    rounds, missed = 300, Counter[str]()
    for _ in range(rounds):
        found = {row.label: row for row in by_class(traffic(random, joint, junk_share, judged))}
        for i, label in enumerate(LABELS):
            precision = joint[i, i] / joint[:, i].sum()
            row = found[label]
            missed["precision" + label] += not holds(row.precision, precision)
            missed["recall" + label] += not holds(row.recall, confusion[i, i])
    # Five in a hundred at most, and three standard deviations of that many rounds.
    assert max(missed.values()) <= rounds * 0.05 + 3 * (rounds * 0.05 * 0.95) ** 0.5


@given(rows=st.lists(SERVED, max_size=30))
@settings(max_examples=100, deadline=None)
def test_what_is_not_judged_widens_and_nothing_is_lost(rows: list[Served]) -> None:
    found = accuracy(rows)
    assert found.right + found.wrong + found.unknown == sum(row.count for row in rows)
    judged = accuracy(row for row in rows if row.judged)
    assert judged.share.value == found.share.value
    assert found.share.low <= judged.share.low + 1e-12
    assert found.share.high >= judged.share.high - 1e-12
    for share in [
        found.share,
        *(s for c in by_class(rows) for s in (c.precision.share, c.recall.share)),
    ]:
        assert 0 <= share.low <= share.high <= 1
        assert share.value is None or share.low <= share.value <= share.high


@given(rows=st.lists(SERVED, min_size=1, max_size=30), label=st.sampled_from([*LABELS, None]))
@settings(max_examples=100, deadline=None)
def test_judging_one_more_stays_within_the_worst_cases(
    rows: list[Served], label: str | None
) -> None:
    """What a judgement makes of an interval cannot be worse than what was feared before it."""
    open_ones = [row for row in rows if not row.judged and row.count]
    assume(open_ones)
    first = open_ones[0]
    rest = list(rows)
    rest.remove(first)
    judged = [*rest, Served(first.predicted, True, label, first.count)]
    before, after = accuracy(rows).share, accuracy(judged).share
    assert before.low - 1e-12 <= after.low
    assert after.high <= before.high + 1e-12
    known = {row.label: row for row in by_class(judged)}
    for row in by_class(rows):
        for old, new in (
            (row.precision.share, known[row.label].precision.share),
            (row.recall.share, known[row.label].recall.share),
        ):
            assert old.low - 1e-12 <= new.low
            assert new.high <= old.high + 1e-12


def test_recall_counts_what_nobody_judged_as_missed_at_worst_and_found_at_best() -> None:
    rows = [
        Served("cat", True, "cat", 20),
        Served("dog", True, "cat", 5),
        Served("cat", False, None, 8),
        Served("dog", False, None, 3),
    ]
    recall = by_class(rows)[0].recall
    assert (recall.right, recall.wrong, recall.unknown) == (20, 5, 11)
    assert recall.share.value == 20 / 25
    assert recall.share.low == exact_interval(20, 28)[0]
    assert recall.share.high == exact_interval(28, 33)[1]


@given(right=st.integers(0, 40), wrong=st.integers(0, 40), unknown=st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_one_chance_for_all_is_as_good_as_another(right: int, wrong: int, unknown: int) -> None:
    some, all_of_it = counted(right, wrong, unknown, 0.03), counted(right, wrong, unknown)
    assert (some.right, some.wrong, some.unknown) == (right, wrong, unknown)
    for name in ("value", "low", "high"):
        expected = getattr(all_of_it.share, name)
        assert getattr(some.share, name) == (
            expected if expected is None else pytest.approx(expected)
        )


def test_chances_that_differ_are_evened_out() -> None:
    """A day of easy traffic was drawn at ten times the share of a day of hard traffic."""
    random = np.random.default_rng(3)
    days = [(0.98, 0.5), (0.70, 0.05)]
    truth, rounds, missed, plain = (0.98 + 0.70) / 2, 300, 0, 0
    for _ in range(rounds):
        rows = []
        for p, chance in days:
            n = int(random.binomial(2000, chance))
            right = int(random.binomial(n, p))
            rows += [Served("cat", True, "cat", right, chance)]
            rows += [Served("cat", True, "dog", n - right, chance)]
        missed += not holds(accuracy(rows), truth)
        even = accuracy(replace(row, chance=1.0) for row in rows)
        plain += not holds(even, truth)
    assert missed <= rounds * 0.05
    assert plain > rounds * 0.9


def test_answer_that_names_no_class_is_right_where_there_is_none() -> None:
    rows = [Served(None, True, None, 3), Served(None, True, "cat", 1), Served("cat", True, None, 2)]
    assert (accuracy(rows).right, accuracy(rows).wrong) == (3, 3)
    (cat,) = by_class(rows)
    assert (cat.precision.right, cat.precision.wrong) == (0, 2)
    assert (cat.recall.right, cat.recall.wrong) == (0, 1)


def counted(right: int, wrong: int, unknown: int, chance: float = 1.0) -> Accuracy:
    return accuracy(
        [
            Served("cat", True, "cat", right, chance),
            Served("cat", True, "dog", wrong, chance),
            Served("cat", False, None, unknown, chance),
        ]
    )


def holds(found: Accuracy, truth: float) -> bool:
    return found.share.low <= truth <= found.share.high


def traffic(
    random: np.random.Generator,
    joint: np.ndarray,
    junk_share: float,
    judged: tuple[float, float],
    n: int = 150,
) -> list[Served]:
    """A sample of traffic, of which so many right and wrong answers were judged."""
    cells = random.choice(joint.size, n, p=joint.ravel())
    rows = Counter[tuple[str, bool, str | None]]()
    for cell, chance, junk in zip(cells, random.random(n), random.random(n), strict=True):
        label, predicted = (LABELS[i] for i in divmod(int(cell), len(LABELS)))
        if junk < junk_share:
            rows[predicted, False, None] += chance >= 0.5  # the others are left out
            continue
        told = bool(chance < judged[label != predicted])
        rows[predicted, told, label if told else None] += 1
    return [Served(*kind, count) for kind, count in rows.items()]
