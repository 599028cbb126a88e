"""Changes and examples that make no sense are refused by name, and nothing is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapters import Head, InvalidArgument, InvalidEmbeddings
from adapters.fronts import Front
from adapters.live import Change, live_head
from tests.adapters.data import blobs
from tests.adapters.live.versions import Array, assert_same, version


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        (Change(np.zeros(4), "a"), InvalidEmbeddings, "changes[1].embedding"),
        (Change(np.full(5, np.nan), "a"), InvalidEmbeddings, "changes[1].embedding"),
        (Change(np.zeros(5), None), InvalidArgument, "changes[1].label"),
        (Change(np.zeros(5), ""), InvalidArgument, "changes[1].label"),
        (Change(np.zeros(5), "a", weight=0.0), InvalidArgument, "changes[1].weight"),
        (Change(np.zeros(5), "a", "b", 1.0, -1.0), InvalidArgument, "changes[1].old_weight"),
        (Change(np.zeros(5), None, "nobody"), InvalidArgument, "changes[1].old_label"),
    ],
)
def test_a_senseless_change_is_refused_and_nothing_is_learned(
    change: Change, error: type[Exception], field: str
) -> None:
    pool, labels = blobs(20, 5, 2)
    live = live_head(version("ridge", pool), pool, labels)
    before = live.head
    with pytest.raises(error) as raised:
        live.apply([Change(pool[0], "a"), change])
    assert isinstance(raised.value, InvalidArgument)
    assert raised.value.field == field
    assert live.head is before
    assert live.updates == 0


@pytest.mark.parametrize("family", ["ridge", "lda", "logistic"])
def test_taking_out_a_stranger_is_refused_and_the_copy_stays_whole(family: str) -> None:
    pool, labels = blobs(20, 5, 2)
    base = version(family, pool, l2=1e-3)
    live = live_head(base, pool[:19], labels[:19])
    with pytest.raises(InvalidArgument, match="not learned"):
        live.apply([Change(pool[19], labels[19]), Change(1000 * pool[3], None, labels[3])])
    assert_same(live.head, live_head(base, pool, labels).head, 1e-4)


@pytest.mark.parametrize(
    ("embeddings", "labels", "weights", "field"),
    [
        (np.zeros((2, 4)), ["a", "b"], None, "embeddings"),
        (np.zeros((2, 5)), ["a"], None, "labels"),
        (np.zeros((2, 5)), ["a", ""], None, "labels"),
        (np.array([[0.0] * 5, [np.inf] * 5]), ["a", "b"], None, "embeddings[1]"),
        (np.zeros((2, 5)), ["a", "b"], [1.0], "weights"),
        (np.zeros((2, 5)), ["a", "b"], [1.0, 0.0], "weights[1]"),
    ],
)
def test_examples_that_make_no_sense_are_refused_by_name(
    embeddings: Array, labels: list[str], weights: list[float] | None, field: str
) -> None:
    pool, _ = blobs(20, 5, 2)
    with pytest.raises(InvalidArgument) as raised:
        live_head(version("ridge", pool), embeddings, labels, weights)
    assert raised.value.field == field


@pytest.mark.parametrize("missing", ["front", "l2", "family"])
def test_a_head_trained_elsewhere_has_no_live_copy(missing: str) -> None:
    pool, labels = blobs(20, 5, 2)
    known: dict[str, Any] = {
        "family": "ridge",
        "l2": 1.0,
        "front": Front.of("standardise", pool),
    }
    known[missing] = "imported" if missing == "family" else None
    zeros = np.zeros((2, 5), np.float32)
    head = Head(labels=("a", "b"), weight=zeros, bias=zeros[:, 0], fingerprint="f00d", **known)
    with pytest.raises(InvalidArgument) as raised:
        live_head(head, pool, labels)
    assert raised.value.field == "head"
