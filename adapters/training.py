"""Learning a head from examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adapters.augmentation import noisy_copies
from adapters.errors import InvalidArgument
from adapters.examples import Examples, Views
from adapters.families import REGISTRY, Family
from adapters.families.prototype import DEFAULT_TEMPERATURE
from adapters.group_report import class_reports, with_groups
from adapters.groups import Groups
from adapters.head import Head
from adapters.model_selection import FittedFamily, ModelSelection, lowest
from adapters.progress import Progress, ignore_progress, within
from adapters.report import Candidate, Estimate, Report
from adapters.spec import AUTO, BALANCED, FAMILIES, HeadSpec

MAX_AUTO_COST = 3e11
"""Floating point operations beyond which "auto" leaves out all but the cheapest family."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained head and what is known about it.

    Attributes:
        head: the head.
        report: how it was trained and how good it is believed to be.
        held_out: float64 logits of shape (n, classes) in the caller's order of the examples, each
            by a model of the same family, strength and use of views that had not seen the
            example or any of its group; nan for those that are never held out, and None where that
            is true of all.
        groups: what belongs together, in the caller's order of the examples; None if that was not
            looked for.
    """

    head: Head
    report: Report
    held_out: NDArray[np.float64] | None
    groups: Groups | None = None


def fit(
    embeddings: ArrayLike,
    labels: Sequence[str],
    spec: HeadSpec | None = None,
    *,
    fingerprint: str,
    weights: ArrayLike | None = None,
    views: Views | None = None,
    start: Head | None = None,
    groups: Sequence[str | None] | None = None,
    progress: Progress = ignore_progress,
) -> Fitted:
    """Train a head, calibrate it and estimate how good it is.

    The order of the examples does not matter. With the family "auto", the one with the lowest
    held-out log-loss on the same folds is taken; families that make no sense for so many
    examples and classes, or cost out of proportion, are left out (`Candidate`). Views are used
    where they lower the held-out log-loss of the examples themselves. Examples of a group, and
    near-copies, are held out together (`adapters.groups`). A class that lies in one group alone,
    or has a single example, is fitted and never held out; where that leaves fewer than two classes
    there is no estimate, and "auto" takes "prototype".

    Args:
        embeddings: numbers of shape (n, dim), as the backbone returned them.
        labels: one per embedding; two different ones at least, and two examples of two of them but
            for the family "prototype", which "auto" takes where there are fewer.
        spec: what to train; the default is `HeadSpec()`.
        fingerprint: of the backbone.
        weights: what each example counts, positive, of shape (n,); 1 each if None.
        views: of the examples; noisy copies if None and the spec asks for views.
        start: a similar head, such as the last version, where iterations start if the strength is
            given. It decides neither family nor strength, nor, to a tolerance, the head.
        groups: the name of each example's group, None for one without; None if none has one.
        progress: called with phases and the shares that are done; without details.

    Raises:
        InvalidExamples: if no head can be learned from the examples.
        InvalidArgument: if `start` belongs to another backbone.
    """
    spec = spec or HeadSpec()
    progress(0.0, "checking examples")
    examples = Examples.of(embeddings, labels, weights)
    _check_start(start, fingerprint)
    found = find_groups(examples, groups, spec.seed)
    examples = examples.grouped(found.numbers)
    estimable = examples.estimable
    if not estimable:  # a strength has to be chosen all the same
        examples = examples.grouped(np.arange(len(examples.targets)))
    families = _families(spec, examples, estimable)
    views = choose_views(spec, examples, views) if estimable else None
    class_weights = weigh_classes(spec, examples)
    weights = examples.weights * class_weights[examples.targets]
    selection = ModelSelection(examples, weights, spec, views, start)
    fitted = selection.fit_all(families, within(progress, 0.1, 0.7))
    chosen = lowest(fitted)
    augmentation = None
    if views is not None:
        progress(0.7, "comparing views")
        chosen, augmentation = selection.augment(chosen, views)
    progress(0.8, "estimating")
    held_out, temperature, guess = None, DEFAULT_TEMPERATURE, None
    if estimable:
        result = chosen.conclude()
        temperature, guess = result.temperature, result.estimate
        held_out = np.empty_like(result.logits)
        held_out[examples.order] = result.logits
    asked = spec.class_weight is not None or bool(spec.class_weights)
    resolved = dict(zip(examples.labels, class_weights.tolist(), strict=True)) if asked else {}
    head = chosen.head(examples.labels, fingerprint, temperature, resolved)
    progress(1.0, "done")
    report = Report(
        family=head.family,
        spec=spec,
        fingerprint=fingerprint,
        example_count=len(examples.targets),
        classes=class_reports(examples.grouped(found.numbers)),
        estimate=guess,
        l2=head.l2,
        temperature=temperature,
        candidates=_candidates(spec, fitted, chosen, guess),
        augmentation=augmentation,
    )
    return Fitted(head, with_groups(report, found), held_out, found)


def choose(examples: Examples, spec: HeadSpec) -> FittedFamily:
    """Fit a family to examples, chosen with its strength as `fit` does without views.

    Raises:
        InvalidExamples: if classes have too few examples for the family that was asked for.
    """
    weights = examples.weights * weigh_classes(spec, examples)[examples.targets]
    selection = ModelSelection(examples, weights, spec, None, None)
    return lowest(selection.fit_all(_families(spec, examples, examples.estimable)))


def _families(spec: HeadSpec, examples: Examples, estimable: bool) -> list[Family]:
    """Return the families to fit, cheapest first; for "auto" those worth their cost.

    Where nothing can be held out, "auto" has no way to choose but takes what works from one example
    of each class on.

    Raises:
        InvalidExamples: if classes have too few examples for the family that was asked for.
    """
    if spec.family != AUTO:
        examples.expect_of_two_classes(REGISTRY[spec.family].min_examples)
        return [REGISTRY[spec.family]]
    n, dim = examples.embeddings.shape
    classes = len(examples.labels)
    families = [
        family for family in REGISTRY.values() if estimable and family.suits(n, classes)
    ] or [family for family in REGISTRY.values() if family.min_examples == 1]

    def cost(family: Family) -> float:
        return family.cost(n, min(n, dim), classes)

    families.sort(key=cost)
    return families[:1] + [family for family in families[1:] if cost(family) <= MAX_AUTO_COST]


def find_groups(examples: Examples, names: Sequence[str | None] | None, seed: int) -> Groups:
    """Group examples by names and as near-copies; names and groups are in the caller's order.

    Raises:
        InvalidExamples: if there is not one name for each example.
    """
    order = examples.order
    if names is not None and len(names) == len(order):
        names = [names[row] for row in order]
    found = Groups.find(examples.embeddings, examples.targets, names, seed)
    numbers = np.empty_like(found.numbers)
    numbers[order] = found.numbers
    return replace(found, numbers=numbers)


def choose_views(spec: HeadSpec, examples: Examples, views: Views | None) -> Views | None:
    """Return the views to fit with: those given, noisy copies if the spec wants them, or none."""
    if views is not None:
        return examples.find(views) if len(views.rows) else None
    if spec.augment.views:
        return noisy_copies(examples, spec.augment, spec.seed)
    return None


def weigh_classes(spec: HeadSpec, examples: Examples) -> NDArray[np.float64]:
    """Return what examples of each class count; shape (classes,).

    "balanced" gives all classes the same sum of weights, the mean of what they had.
    """
    if spec.class_weight == BALANCED:
        totals = np.bincount(examples.targets, examples.weights)
        balanced: NDArray[np.float64] = totals.mean() / totals
        return balanced
    return np.array([spec.class_weights.get(label, 1.0) for label in examples.labels])


def _check_start(start: Head | None, fingerprint: str) -> None:
    if start is not None and start.fingerprint != fingerprint:
        raise InvalidArgument(
            f"the head to start from belongs to backbone {start.fingerprint}, not to {fingerprint}",
            field="start",
            limit=fingerprint,
            value=start.fingerprint,
        )


def _candidates(
    spec: HeadSpec, fitted: Sequence[FittedFamily], chosen: FittedFamily, guess: Estimate | None
) -> tuple[Candidate, ...]:
    """Return strength and estimate of each family; one that is alone has the head's estimate."""
    found: dict[str, tuple[float | None, Estimate | None]]
    found = {chosen.family.name: (chosen.l2, guess)}
    if len(fitted) > 1:
        found = {one.family.name: (one.l2, one.comparison) for one in fitted}
    return tuple(
        Candidate(name, *found.get(name, (None, None)), chosen=name == chosen.family.name)
        for name in (FAMILIES if spec.family == AUTO else (spec.family,))
    )
