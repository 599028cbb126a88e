"""Makes a version of a live copy."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import adapters
from adapters.calibration import fit_temperature
from adapters.decisions import DecisionCurve
from adapters.diagnostics import diagnose
from adapters.estimate import estimate
from adapters.groups import held_out as can_be_held_out
from adapters.held_out_set import LabelledRows, measure
from adapters.spec import FLIPPED
from service.errors import Aborted
from service.fitting.task import FittedHead
from service.fitting.trainer import MIN_CLASSES, labelled_rows, new_version
from service.live.comparison import Example, groups_of
from service.live.live_copy import COALESCING, LiveCopy
from service.store.example_sets import LabelledSet
from service.store.jobs import NewVersion
from service.store.live_set import LiveSet, Member

MAX_DIAGNOSED = 5000
"""Examples up to which a version gets the whole report; its cost grows with their square."""


def make_version(
    copy: LiveCopy, stored: LiveSet, base: Mapping[str, Any], held_out: LabelledSet
) -> NewVersion:
    """Makes a version of a live copy: its very weights, calibrated on what it is built on.

    Args:
        stored: what it is made of.
        base: report of the version that it moved on from.
        held_out: examples to measure it on.

    Raises:
        Aborted: what is stored is not what it is made of any more.
    """
    started, cpu_started = time.perf_counter(), time.thread_time()
    known, head = copy.known, copy.scoring_head
    assert head is not None
    found: dict[str, Example] = {item.digest: item for item in stored.members}
    found |= {item.digest: item for item in stored.feedback if item.id <= copy.through}
    if found.keys() != known.keys():
        raise Aborted("live copy: its examples have changed meanwhile", retry_after=1.0)
    examples = [found[digest] for digest in known]
    labels = list(known.values())
    groups = groups_of(examples)
    targets = head.class_indices(labels)
    described = np.array([isinstance(item, Member) and item.described for item in examples])
    logits = copy.held_out_logits(examples, groups.numbers)
    held = can_be_held_out(targets, groups.numbers, len(head.labels)) & ~described
    head, guess = _estimated(head, logits, targets, groups.numbers, held)
    counts = Counter(labels)
    report = adapters.Report(
        family=head.family,
        spec=_spec_of(base),
        fingerprint=head.fingerprint,
        example_count=len(known),
        classes=tuple(adapters.ClassReport(label, counts[label]) for label in head.labels),
        estimate=guess,
        l2=head.l2,
        temperature=head.temperature,
        candidates=(adapters.Candidate(head.family, head.l2, guess, chosen=True),),
    )
    fitted = adapters.Fitted(head, report, None if guess is None else logits, groups)
    if len(examples) <= MAX_DIAGNOSED:
        vectors = np.stack([item.vector for item in examples])
        weights = np.array([item.weight for item in examples])
        fitted = diagnose(fitted, vectors, labels, weights=weights)
    curve = None
    if guess is not None and stored.head.tail is None:
        curve = _decisions(logits, targets, head, groups.numbers, held)
    fitted = replace(fitted, report=replace(fitted.report, decisions=curve))
    tests = labelled_rows(held_out)
    names = [item.group for item in examples]
    trained = LabelledRows(np.stack([item.vector for item in examples]), labels, names)
    result = None if tests is None else measure(fitted.head, tests, trained)
    made = FittedHead.of(fitted, result, time.thread_time() - cpu_started)
    return new_version(
        made, known, held_out.digests, started, description_count=int(described.sum())
    )


def _decisions(
    logits: NDArray[np.float64],
    targets: NDArray[np.intp],
    head: adapters.Head,
    groups: NDArray[np.intp],
    held: NDArray[np.bool_],
) -> DecisionCurve:
    """Returns what may be accepted of the version's answers, by logits without each example.

    There is no such thing on a tail, which has seen the examples.
    """
    return DecisionCurve.of(logits[held], targets[held], head.temperature, groups[held])


def _spec_of(base: Mapping[str, Any]) -> adapters.HeadSpec:
    """Returns the spec of a version; views that its tail was tuned on by choice are named in it.

    The version that follows runs on the same tail, without a report on how that was tuned.
    """
    spec = adapters.HeadSpec.from_json(base["spec"])
    tuned = base.get("fine_tuning") or {}
    count = tuned.get("view_count")
    if not count or spec.fine_tune.views is not None:
        return spec
    flips = tuned["views"] == FLIPPED
    return replace(spec, fine_tune=replace(spec.fine_tune, views=count, flips=flips))


def _estimated(
    head: adapters.Head,
    logits: NDArray[np.float64],
    targets: NDArray[np.intp],
    groups: NDArray[np.intp],
    held: NDArray[np.bool_],
) -> tuple[adapters.Head, adapters.Estimate | None]:
    """Returns the head, calibrated on logits without each example's group, and its estimate.

    Those in `held` are scored. Where fewer than two classes lie in two groups each, nothing is
    known of new inputs: the temperature stays that of the version before, without an estimate.
    """
    if len(np.unique(targets[held])) < MIN_CLASSES:
        return head, None
    scored, right, own = logits[held], targets[held], groups[held]
    head = replace(head, temperature=fit_temperature(scored, right))
    whole = len(np.unique(own)) == len(targets)
    method = "leave-one-out" if whole else "leave-one-group-out"
    if head.family in COALESCING:
        method = "10-fold cross-validation"
    return head, estimate(scored, right, head.temperature, method, own)
