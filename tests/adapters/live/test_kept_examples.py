"""Kept examples are those that came and have not gone, wherever they lie."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import InvalidArgument
from adapters.fronts import Front
from adapters.live.kept_examples import KeptExamples
from adapters.live.learner import Given
from tests.adapters.data import blobs

POOL = blobs(12, 3, 2)[0].astype(np.float64)
FRONT = Front.of("standardise", POOL)

Example = tuple[int, int, float]


def kept(examples: list[Example]) -> KeptExamples:
    rows = [row for row, _, _ in examples]
    targets = np.array([target for _, target, _ in examples], dtype=np.intp)
    weights = np.array([weight for _, _, weight in examples])
    return KeptExamples(Given(FRONT, POOL[rows].reshape(-1, 3), targets, weights, 3))


def content(examples: KeptExamples) -> Counter[tuple[bytes, int, float]]:
    rows = (row.tobytes() for row in examples.features)
    return Counter(zip(rows, examples.targets.tolist(), examples.weights.tolist(), strict=True))


steps = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "relabel"]), st.integers(0, 11), st.integers(0, 2)),
    max_size=60,
)


@given(start=st.integers(0, 20), changes=steps)
def test_what_is_kept_is_what_came_and_has_not_gone(
    start: int, changes: list[tuple[str, int, int]]
) -> None:
    expected: list[Example] = [(i % 12, i % 3, 1.0) for i in range(start)]
    examples = kept(expected)
    for kind, row, target in changes:
        if kind == "add":
            examples.add(POOL[row], FRONT.features(POOL[row : row + 1])[0], target, 1.0)
            expected.append((row, target, 1.0))
        elif expected:
            old = expected.pop(row % len(expected))
            if kind == "remove":
                examples.remove(POOL[old[0]], old[1])
            else:
                examples.relabel(POOL[old[0]], old[1], target)
                expected.append((old[0], target, 1.0))
        assert content(examples) == content(kept(expected))
    rows = [row for row, _, _ in expected]
    targets = np.array([target for _, target, _ in expected], dtype=np.intp)
    places = examples.find(POOL[rows].reshape(-1, 3), targets)
    assert sorted(places) == list(range(len(expected)))
    assert np.array_equal(examples.targets[places], targets)


@pytest.mark.parametrize("method", ["remove", "find", "relabel"])
def test_what_is_not_kept_cannot_be_found(method: str) -> None:
    examples = kept([(0, 1, 1.0)])
    arguments: dict[str, tuple[Any, ...]] = {
        "remove": (POOL[0], 0),
        "find": (POOL[[0, 0]], np.array([1, 1])),
        "relabel": (POOL[1], 1, 0),
    }
    with pytest.raises(InvalidArgument, match="not learned"):
        getattr(examples, method)(*arguments[method])


def test_few_of_many_additions_copy_what_is_there() -> None:
    examples, moved = kept([(i % 12, i % 3, 1.0) for i in range(800)]), 0
    for number in range(200):
        before = examples.features
        examples.add(POOL[number % 12], np.zeros(3), 0, 1.0)
        moved += not np.shares_memory(before, examples.features)
    assert moved <= 3
