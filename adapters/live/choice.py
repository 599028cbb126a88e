"""The choice of family, front and strength on the examples that a live copy has by then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from adapters.diagnostics import conformal_of
from adapters.examples import MIN_CLASSES, Examples
from adapters.families import REGISTRY, Family
from adapters.head import Head
from adapters.live.changes import check_examples
from adapters.model_selection import ModelSelection, lowest
from adapters.spec import AUTO, HeadSpec
from adapters.training import MAX_AUTO_COST, find_groups

CLOSED_FORMS = ("ridge", "lda", "prototype")
"""Families among which "auto" chooses here, beside the version's own. Logistic regression hardly
ever beats them by much, and following it costs a refit with every feedback."""


def chosen_anew(
    version: Head,
    spec: HeadSpec,
    embeddings: ArrayLike,
    labels: Sequence[str],
    weights: ArrayLike | None = None,
    groups: Sequence[str | None] | None = None,
) -> Head:
    """Train a version anew on these examples; they choose front, strength and, for "auto", family.

    As a training does without views, with the version's class weights. A strength that the spec
    names stays. Temperature and conformal scores come from the same held-out predictions, without
    an example's group. Classes with a single example take no part, since nothing could be held out
    of them.

    Args:
        version: whose class weights and novelty bank are kept.
        spec: that it was trained with.
        embeddings: of shape (n, dim).
        labels: one per embedding.
        weights: positive, of shape (n,), without those of classes; 1 each if None.
        groups: the name of each example's group, None for one without; None if none has one.

    Returns:
        The version itself, if fewer than two classes have two examples in two groups.

    Raises:
        InvalidEmbeddings: if embeddings are not (n, dim) finite numbers.
        InvalidExamples: if labels or weights do not fit them.
    """
    _, numbers = check_examples(embeddings, labels, weights, version.dim)
    counts = Counter(labels)
    kept = np.array([counts[label] > 1 for label in labels], dtype=np.bool_)
    names = [label for label in labels if counts[label] > 1]
    if len(set(names)) < MIN_CLASSES:
        return version
    examples = Examples.of(np.asarray(embeddings)[kept], names, numbers[kept])
    own = None if groups is None else [groups[row] for row in np.flatnonzero(kept).tolist()]
    examples = examples.grouped(find_groups(examples, own, spec.seed).numbers)
    if not examples.estimable:
        return version
    class_weights = np.array([version.class_weights.get(label, 1.0) for label in examples.labels])
    selection = ModelSelection(
        examples, examples.weights * class_weights[examples.targets], spec, None, None
    )
    chosen = lowest(selection.fit_all(_families(version, spec, examples)))
    result = chosen.conclude()
    head = chosen.head(
        examples.labels, version.fingerprint, result.temperature, version.class_weights
    )
    conformal = version.conformal and conformal_of(examples, result.logits, result.temperature)
    return replace(head, novelty=version.novelty, conformal=conformal)


def _families(version: Head, spec: HeadSpec, examples: Examples) -> list[Family]:
    """Return those to choose among, closed forms first."""
    if spec.family != AUTO:
        return [REGISTRY[spec.family]]
    n, dim = examples.embeddings.shape
    classes = len(examples.labels)

    def suits(family: Family) -> bool:
        affordable = family.cost(n, min(n, dim), classes) <= MAX_AUTO_COST
        return family.suits(n, classes) and (affordable or family.name == version.family)

    names = dict.fromkeys((*CLOSED_FORMS, version.family))
    return [family for name in names if suits(family := REGISTRY[name])] or [REGISTRY["ridge"]]
