"""What is known about a trained head besides its estimate: where it errs, and what may be amiss.

Nothing here needs a held-out set, and nothing is measured on examples a model was fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.special
from numpy.typing import ArrayLike, NDArray

from adapters.augmentation import NONE, arrange, noisy_copies
from adapters.conformal import Conformal
from adapters.decisions import DecisionCurve
from adapters.estimate import evaluation
from adapters.examples import Examples, Views
from adapters.families import REGISTRY
from adapters.folds import grouped_folds
from adapters.group_report import class_reports, with_groups
from adapters.head import Head
from adapters.novelty import NoveltyBank, unit
from adapters.progress import Progress, ignore_progress
from adapters.report import (
    LearningPoint,
    LikelyMislabelled,
    NearDuplicates,
    NoveltyReport,
    Report,
)
from adapters.training import Fitted, find_groups

MAX_LISTED = 50
"""Examples that are listed as likely mislabelled, and pairs of near-duplicates, at most."""

NEAR_DUPLICATE = 0.995
"""Cosine of embeddings from which on two inputs are called nearly the same.

A picture saved again as JPEG, or a text with other blanks, lies above it; two different pictures of
one fabric, as alike as classes can be, below.
"""

MAX_COMPARED = 8000
"""Examples that are compared with one another in search of near-duplicates, at most."""

TILE = 1024
"""Rows and columns of the matrix of cosines that are in memory at once."""

_SHARES = (8, 4, 2)
_REPEATED = 1000
"""Examples that are fitted at each size: small parts one after the other, large ones once."""

Float = NDArray[np.float64]


def diagnose(
    fitted: Fitted,
    embeddings: ArrayLike,
    labels: Sequence[str],
    *,
    weights: ArrayLike | None = None,
    views: Views | None = None,
    progress: Progress = ignore_progress,
) -> Fitted:
    """Complete a head and its report; give it the very examples it was fitted to.

    The report gains the evaluation, the classes' figures, the decisions, the learning curve, likely
    mislabelled examples, near-duplicates and, if the spec asks for it, novelty; the head gains what
    it takes to make conformal sets and to recognise novelty. Where there are too few examples for
    any of these it stays away. The order of the examples does not matter.

    Args:
        fitted: what `fit` returned.
        embeddings: of shape (n, dim), as for `fit`.
        labels: one per embedding, as for `fit`.
        weights: as for `fit`.
        views: as for `fit`.
        progress: called with phases and the shares that are done; without details.

    Raises:
        InvalidExamples: if no head could have been learned from the examples.
    """
    examples = Examples.of(embeddings, labels, weights)
    head, report = fitted.head, fitted.report
    groups = fitted.groups or find_groups(examples, None, report.spec.seed)
    examples = examples.grouped(groups.numbers)
    report = with_groups(replace(report, classes=class_reports(examples)), groups)
    progress(0.0, "looking for near-duplicates")
    report = replace(report, near_duplicates=_near_duplicates(examples, report.spec.seed))
    if report.spec.novelty is not None:
        progress(0.4, "learning what is ordinary")
        rows, targets = examples.embeddings, examples.targets
        bank = NoveltyBank.of(rows, targets, report.spec.novelty, report.spec.seed, examples.groups)
        head, report = replace(head, novelty=bank), replace(report, novelty=novelty_report(bank))
    if fitted.held_out is not None and report.estimate is not None:
        held_out = fitted.held_out[examples.order]
        head = replace(head, conformal=conformal_of(examples, held_out, head.temperature))
        report = add_evaluation(report, examples, held_out)
        progress(0.5, "drawing the learning curve")
        curve = _learning_curve(head, report, examples, views)
        report = replace(report, learning_curve=curve)
    progress(1.0, "done")
    return Fitted(head, report, fitted.held_out, groups)


def add_evaluation(report: Report, examples: Examples, held_out: Float) -> Report:
    """Add what follows from held-out logits (n, classes), in the order of `examples`.

    Rows of examples that are never held out are nan.
    """
    assert report.estimate is not None
    temperature, scored = report.temperature, examples.held
    found = evaluation(
        held_out[scored],
        examples.targets[scored],
        examples.labels,
        temperature,
        report.estimate.method,
        examples.groups[scored],
    )
    classes = class_reports(examples, found)
    return replace(
        report,
        evaluation=replace(found, estimate=report.estimate, classes=classes),
        classes=classes,
        likely_mislabelled=_likely_mislabelled(examples, held_out / temperature),
        decisions=DecisionCurve.of(
            held_out[scored],
            examples.targets[scored],
            temperature,
            examples.groups[scored],
            report.estimate.optimism,
        ),
    )


def conformal_of(examples: Examples, held_out: Float, temperature: float) -> Conformal:
    """Fit conformal sets to held-out logits (n, classes), in the order of `examples`."""
    scored = examples.held
    return Conformal.of(
        held_out[scored], examples.targets[scored], temperature, examples.groups[scored]
    )


def _likely_mislabelled(examples: Examples, logits: Float) -> tuple[LikelyMislabelled, ...]:
    """Return examples whose label is contradicted with confidence, worst first.

    Confident learning (Northcutt, Jiang and Chuang 2021, https://arxiv.org/abs/1911.00068): an
    example is suspect if its likeliest class is another than its label, and at least as likely
    as that class is on average among those that bear it. The worst have the largest lead of
    that class over the label.
    """
    held = np.flatnonzero(examples.held)
    probabilities = scipy.special.softmax(logits[held], axis=1)
    targets, rows = examples.targets[held], np.arange(len(held))
    own, classes = probabilities[rows, targets], len(examples.labels)
    counts = np.bincount(targets, minlength=classes)
    # Nothing is known of how likely a class is usually that is never held out.
    usual = np.where(counts, np.bincount(targets, own, classes) / np.maximum(counts, 1), np.inf)
    predicted = probabilities.argmax(axis=1)
    best = probabilities[rows, predicted]
    suspects = np.flatnonzero((predicted != targets) & (best >= usual[predicted]))
    worst = suspects[np.argsort((own - best)[suspects], kind="stable")][:MAX_LISTED]
    return tuple(
        LikelyMislabelled(
            row=int(examples.order[held[row]]),
            label=examples.labels[targets[row]],
            predicted_label=examples.labels[predicted[row]],
            label_probability=float(own[row]),
            predicted_probability=float(best[row]),
        )
        for row in worst
    )


def _near_duplicates(examples: Examples, seed: int) -> tuple[NearDuplicates, ...]:
    """Return the nearest pairs of embeddings with different labels, nearest first.

    All pairs of at most `MAX_COMPARED` examples, drawn at random where there are more: what
    goes wrong often shows in a part, too. Costs n**2 dim operations in float32 for n of them, and
    memory for `TILE`**2 cosines.
    """
    drawn = np.arange(len(examples.targets))
    if len(drawn) > MAX_COMPARED:
        drawn = np.sort(np.random.default_rng(seed).permutation(drawn)[:MAX_COMPARED])
    units, targets = unit(examples.embeddings[drawn]), examples.targets[drawn]
    pairs: list[tuple[float, int, int]] = []
    starts = range(0, len(units), TILE)
    for top, left in ((top, left) for top in starts for left in starts if left >= top):
        across, down = slice(left, left + TILE), slice(top, top + TILE)
        cosines = units[down] @ units[across].T
        cosines[targets[down, None] == targets[None, across]] = -1
        if top == left:
            cosines = np.triu(cosines)
        near = np.flatnonzero(cosines >= NEAR_DUPLICATE)
        near = near[np.argsort(-cosines.ravel()[near], kind="stable")[:MAX_LISTED]]
        one, other = np.divmod(near, cosines.shape[1])
        found = cosines.ravel()[near].tolist()
        pairs += zip(found, (one + top).tolist(), (other + left).tolist(), strict=True)
        pairs = sorted(pairs, key=lambda pair: -pair[0])[:MAX_LISTED]
    return tuple(
        NearDuplicates(
            row=int(examples.order[drawn[one]]),
            label=examples.labels[targets[one]],
            other_row=int(examples.order[drawn[other]]),
            other_label=examples.labels[targets[other]],
            similarity=min(1.0, cosine),
        )
        for cosine, one, other in pairs
    )


def novelty_report(bank: NoveltyBank | None) -> NoveltyReport | None:
    """Say how a bank recognises novelty."""
    if bank is None:
        return None
    return NoveltyReport(
        bank.false_alarm_rate, bank.threshold, len(bank.bank), bank.neighbour, bank.abstain
    )


def _learning_curve(
    head: Head, report: Report, examples: Examples, views: Views | None
) -> tuple[LearningPoint, ...]:
    """Return the accuracy that trainings on an eighth, a quarter, half and all would have had.

    Examples are dealt into eight, four and two stratified parts, groups undivided; what is never
    held out is in all of them. Heads of the same family are
    fitted to some of the parts each, behind the head's front and with its strength in proportion,
    and measured on the other examples. The last point is the estimate. Parts with fewer
    examples than classes are left out. A head trained on such a part alone would choose its
    strength with less to go by: the first point is too high by about a point.
    """
    assert report.estimate is not None
    n, classes, seed = len(examples.targets), len(examples.labels), report.spec.seed
    learner = _Learner(head, report, examples, views)
    held, targets, groups = examples.held, examples.targets, examples.groups
    different = len(np.unique(groups[held]))
    points = []
    for share in _SHARES:
        if different < share * classes:
            continue
        deal = grouped_folds(targets, groups, held, share, seed)
        repeats = min(share, max(1, _REPEATED * share // n))
        parts = [(deal == part) | ~held for part in range(repeats)]
        accuracy = float(np.mean([learner.accuracy(part) for part in parts]))
        size = n / share if different == n else np.mean([part.sum() for part in parts])
        points.append(LearningPoint(round(float(size)), accuracy))
    return (*points, LearningPoint(n, report.estimate.accuracy))


class _Learner:
    """Fits parts of the examples as a head was fitted to all of them."""

    def __init__(self, head: Head, report: Report, examples: Examples, views: Views | None) -> None:
        assert head.front is not None
        augmentation, spec = report.augmentation, report.spec
        self._used = NONE if augmentation is None else augmentation.used
        self._views: Views | None = None
        if self._used != NONE:
            given = examples.find(views) if views is not None else None
            self._views = given or noisy_copies(examples, spec.augment, spec.seed)
        of_classes = [head.class_weights.get(label, 1.0) for label in examples.labels]
        self._weights = examples.weights * np.array(of_classes)[examples.targets]
        self._head, self._front, self._examples = head, head.front, examples
        self._features = head.front.features(examples.embeddings)
        self._seed = spec.seed

    def accuracy(self, part: NDArray[np.bool_]) -> float:
        """Return the accuracy on the other examples of a head fitted to some of them.

        Args:
            part: which to fit to, of shape (n,); classes without one are unknown to the head.
        """
        examples, head = self._examples, self._head
        present, targets = np.unique(examples.targets[part], return_inverse=True)
        if len(present) == 1:
            predicted = present
        else:
            some = Examples(
                embeddings=examples.embeddings[part],
                targets=targets,
                weights=examples.weights[part],
                labels=tuple(examples.labels[c] for c in present),
                order=examples.order[part],
                groups=examples.groups[part],
            )
            problem = arrange(
                self._used, some, self._weights[part], self._of(part), self._front, self._seed
            )
            l2 = None if head.l2 is None else head.l2 * float(part.mean())
            weight, bias = REGISTRY[head.family].begin(problem).solve(l2)
            logits = self._features[~part] @ weight.T + bias
            predicted = present[logits.argmax(axis=1)]
        return float(np.mean(predicted == examples.targets[~part]))

    def _of(self, part: NDArray[np.bool_]) -> Views | None:
        """Return the views of some of the examples."""
        if self._views is None:
            return None
        kept = part[self._views.rows]
        place = np.cumsum(part) - 1
        return Views(self._views.embeddings[kept], place[self._views.rows[kept]])
