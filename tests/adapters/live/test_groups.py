"""A live copy leaves whole groups out as one that is trained without them."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.live import live_head
from tests.adapters.data import blobs
from tests.adapters.live.versions import version


@pytest.mark.parametrize("family", ["ridge", "lda", "prototype"])
def test_a_group_leaves_together_as_if_the_copy_had_never_learned_it(family: str) -> None:
    embeddings, labels = blobs(60, 10, 3)
    head = version(family, embeddings)
    groups = np.arange(60)
    groups[[3, 4, 17]] = 3
    groups[[20, 21]] = 20
    copy = live_head(head, embeddings, labels)
    found = copy.held_out_logits(embeddings, labels, groups=groups)
    for group in (3, 20, 30):
        out = groups == group
        rest = live_head(
            head, embeddings[~out], [label for label, o in zip(labels, out, strict=True) if not o]
        )
        expected = rest.head.logits(embeddings[out])
        difference = found[out] - expected
        # Discriminants are up to what all classes of a row have in common.
        difference -= difference.mean(axis=1, keepdims=True) if family == "lda" else 0
        np.testing.assert_allclose(difference, 0, atol=2e-3)


@pytest.mark.parametrize("family", ["ridge", "lda", "prototype", "logistic"])
def test_the_only_group_of_a_class_is_never_right(family: str) -> None:
    embeddings, labels = blobs(40, 10, 2, distance=8.0)
    labels[:4] = ["alone"] * 4
    groups = np.arange(40)
    groups[:4] = 0
    head = version(family, embeddings)
    copy = live_head(head, embeddings, labels)
    right = copy.held_out(embeddings, labels, groups=groups)
    assert not right[:4].any()
    assert right[4:].mean() > 0.8
    assert np.isnan(copy.held_out_logits(embeddings, labels, groups=groups)[:4]).all()
