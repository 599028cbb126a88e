"""Classes, weights and what else belongs to a live copy come, change and go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adapters import InvalidExamples
from adapters.conformal import Conformal
from adapters.live import Change, live_head
from adapters.novelty import NoveltyBank
from tests.adapters.data import blobs
from tests.adapters.live.versions import all_families, assert_same, version


@all_families
def test_classes_come_and_go_with_their_examples(family: str) -> None:
    pool, _ = blobs(10, 5, 2)
    live = live_head(version(family, pool), pool[:0], [])
    assert (live.ready, live.labels) == (False, ())
    live.apply([Change(pool[0], "b")])
    assert (live.ready, live.labels) == (False, ("b",))
    with pytest.raises(InvalidExamples):
        _ = live.head
    assert not live.held_out(pool[:1], ["b"]).any()
    live.apply([Change(pool[1], "a"), Change(pool[2], "c")])
    assert live.head.labels == ("a", "b", "c")
    live.apply([Change(pool[1], "c", "a"), Change(pool[2], None, "c")])
    assert_same(live.head, live_head(live.head, pool[:2], ["b", "c"]).head, 1e-4)
    live.apply([Change(pool[0], None, "b")])
    assert not live.ready
    assert live.labels == ("c",)


@all_families
def test_a_head_once_given_does_not_change(family: str) -> None:
    pool, labels = blobs(30, 8, 3)
    live = live_head(version(family, pool), pool[:20], labels[:20])
    before = live.head
    weight = before.weight.copy()
    live.apply([Change(pool[25], "another")])
    assert np.array_equal(before.weight, weight)
    assert live.head is not before
    assert "another" in live.head.labels


def test_what_else_belongs_to_the_version_is_kept() -> None:
    pool, labels = blobs(30, 8, 3)
    unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)
    base = replace(
        version("lda", pool, class_weights={"a": 2.0}),
        novelty=NoveltyBank(unit.astype(np.float16), 1, 0.5, True, 0.05),
        conformal=Conformal(np.array([0.1, 0.7], np.float32), 1.0),
    )
    head = live_head(base, pool, labels).head
    for name in ("novelty", "conformal", "front", "temperature", "l2", "fingerprint", "family"):
        assert getattr(head, name) is getattr(base, name)
    assert head.class_weights == base.class_weights


def test_a_changed_weight_is_the_new_one() -> None:
    pool, labels = blobs(30, 8, 3)
    base = version("ridge", pool)
    live = live_head(base, pool, labels, np.full(30, 2.0))
    live.apply([Change(pool[3], labels[4], labels[3], weight=0.5, old_weight=2.0)])
    labels[3] = labels[4]
    weights = np.full(30, 2.0)
    weights[3] = 0.5
    assert_same(live.head, live_head(base, pool, labels, weights).head)


def test_small_heads_take_little_memory() -> None:
    pool, labels = blobs(100, 1000, 4)
    live = live_head(version("ridge", pool), pool[:50], labels[:50])
    live.apply([Change(*pair) for pair in zip(pool[50:], labels[50:], strict=True)])
    assert live.nbytes < 4 * 100 * 1000 * 8 < 1000 * 1000 * 8


@pytest.mark.parametrize("family", ["ridge", "lda"])
@pytest.mark.parametrize("count", [10, 60])
def test_copies_of_many_examples_count_the_matrix_they_hold(family: str, count: int) -> None:
    pool, labels = blobs(150, 100, 4)
    live = live_head(version(family, pool), pool[:count], labels[:count])
    few = live.nbytes
    live.apply([Change(*pair) for pair in zip(pool[count:], labels[count:], strict=True)])
    matrix = 100 * 100 * 8
    assert (few >= matrix) == (count > 50)
    assert matrix <= live.nbytes < 2.5 * matrix
