"""What is kept of a stream of examples."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from service.advice.sample import Sample


def drawn(labels: list[str], most: int, seed: int = 0, nbytes: int = 1) -> list[int]:
    sample: Sample[int] = Sample(most, 10**9, seed)
    for row, label in enumerate(labels):
        sample.add(row, label, row, nbytes)
    rows = sample.rows()
    assert [labels[row] for row, _, _ in rows] == [label for _, label, _ in rows]
    assert sample.seen == len(labels)
    return [row for row, _, _ in rows]


def test_few_examples_are_all_kept_in_order() -> None:
    assert drawn(["a", "b", "a"], 3) == [0, 1, 2]


def test_every_class_keeps_the_same_share() -> None:
    labels = ["a"] * 600 + ["b"] * 300 + ["c"] * 100
    counts = Counter(labels[row] for row in drawn(labels, 200))
    assert sum(counts.values()) == 200
    for label, count in counts.items():
        assert abs(count - labels.count(label) / 5) <= 1


def test_the_end_of_a_stream_has_the_same_chance_as_its_beginning() -> None:
    rows = drawn(["a"] * 4000, 1000)
    assert 420 <= sum(row >= 2000 for row in rows) <= 580


def test_a_rare_class_is_not_given_up() -> None:
    labels = ["common"] * 2000 + ["rare"] * 5
    counts = Counter(labels[row] for row in drawn(labels, 50))
    assert counts == {"common": 45, "rare": 5}


def test_chance_is_the_seeds() -> None:
    labels = ["a", "b"] * 200
    assert drawn(labels, 40, seed=1) == drawn(labels, 40, seed=1)
    assert drawn(labels, 40, seed=1) != drawn(labels, 40, seed=2)


@given(
    labels=st.lists(st.sampled_from("abcde"), max_size=120),
    most=st.integers(1, 40),
    sizes=st.lists(st.integers(1, 50), min_size=120, max_size=120),
)
@settings(max_examples=60, deadline=None)
def test_neither_bound_is_broken(labels: list[str], most: int, sizes: list[int]) -> None:
    sample: Sample[int] = Sample(most, 200, seed=0)
    for row, label in enumerate(labels):
        sample.add(row, label, row, sizes[row])
        kept = sample.rows()
        assert len(kept) <= most
        assert sum(sizes[row] for row, _, _ in kept) <= 200
