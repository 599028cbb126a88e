"""Compares every option on labelled inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.advice.comparison import OptionResult, Plan, evaluate_option
from adapters.advice.curves import labels_needed
from adapters.advice.direct_features import Raw, Texts
from adapters.advice.findings import Findings
from adapters.advice.geometry import effective_rank, log_evidence, mean_similarity
from adapters.advice.near_duplicates import find_near_duplicates
from adapters.advice.options import Learner, LinearLearner, MajorityLearner, TextLearner
from adapters.advice.report import (
    DIRECT,
    MAJORITY,
    NOTHING,
    Advice,
    Geometry,
    HeadLead,
    Option,
)
from adapters.advice.tuning_outlook import fine_tuning
from adapters.advice.wording import reasons, summary
from adapters.errors import InvalidExamples
from adapters.groups import LEAST_GROUPS, groups_by_class, held_out
from adapters.report import ClassReport
from adapters.spec import AUTO

MIN_CLASSES = 2


class Advisor:
    """Compares what could be done with labelled inputs.

    The same inputs, labels and seed give the same advice. Call `evaluate` for each of `options`,
    then `conclude`.

    Args:
        embeddings: numbers of shape (n, dim) by backbone, one at least.
        raw: the same n inputs without a backbone.
        labels: one per input; two different ones at least, with two groups of inputs of each.
            Other classes may have fewer: they are learned, and not measured.
        seed: decides how examples are dealt.
        groups: the name of each input's group, None for one without; None if none has one.

    Raises:
        InvalidExamples: if nothing can be learned from the examples.
    """

    def __init__(
        self,
        embeddings: Mapping[str, NDArray[Any]],
        raw: Raw,
        labels: Sequence[str],
        seed: int = 0,
        groups: Sequence[str | None] | None = None,
    ) -> None:
        names, targets = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
        _check(embeddings, raw, names.tolist(), targets)
        self._labels: tuple[str, ...] = tuple(map(str, names))
        self._embeddings, self._raw, self._seed = embeddings, raw, seed
        spaces = list(embeddings.values())
        found = find_near_duplicates(spaces, raw, targets, self._labels, groups, seed)
        self._duplicates = found
        _check_groups(names.tolist(), targets, found.groups.numbers)
        self.plan = Plan.of(targets, found.groups.numbers, seed)
        self._results: dict[str, OptionResult] = {}
        self._geometries: dict[str, Geometry] = {}
        self._direct_code = ""

    @property
    def options(self) -> tuple[str, ...]:
        """The majority, direct training, and a head on each backbone."""
        return MAJORITY, DIRECT, *self._embeddings

    def learner(self, option: str) -> Learner:
        """Return the learner of an option."""
        targets = self.plan.targets
        if option == MAJORITY:
            return MajorityLearner(targets)
        if option == DIRECT:
            return self._direct_learner()
        rows = self._embeddings[option]
        return LinearLearner(rows, targets, AUTO, self._seed, self.plan.groups)

    def _direct_learner(self) -> LinearLearner | TextLearner:
        targets = self.plan.targets
        if isinstance(self._raw, Texts):
            return TextLearner(self._raw, targets, self.plan.folds, self.plan.groups, self._seed)
        rows = self._raw.scaled
        return LinearLearner(rows, targets, "logistic", self._seed, self.plan.groups)

    def evaluate(self, option: str) -> None:
        """Evaluate an option on all folds and parts; this is what takes time."""
        learner = self.learner(option)
        self._results[option] = evaluate_option(option, learner, self.plan)
        if option == DIRECT and isinstance(learner, LinearLearner | TextLearner):
            most = int(np.bincount(self.plan.targets).max())
            self._direct_code = learner.code(min(self.plan.fold_count, most))
        if option in self._embeddings:
            rows = self._embeddings[option]
            self._geometries[option] = Geometry(
                log_evidence(rows, self.plan.targets), effective_rank(rows), mean_similarity(rows)
            )

    def conclude(self) -> Advice:
        """Return the advice; all options have been evaluated before."""
        found = Findings(
            self.plan, self._duplicates, self._results, self._geometries, self._raw.words
        )
        tune, why = fine_tuning(found)
        best = found.recommended
        counts = np.bincount(self.plan.targets).tolist()
        lead = found.transfer
        needed = labels_needed(found.law(best), best.estimate.accuracy, found.n)
        return Advice(
            example_count=found.n,
            classes=tuple(map(ClassReport, self._labels, counts)),
            options=tuple(
                Option(one.name, one.estimate, one.curve, self._geometries.get(one.name))
                for one in sorted(
                    self._results.values(),
                    key=lambda one: (-one.estimate.accuracy, one.estimate.log_loss),
                )
            ),
            verdict=found.verdict,
            recommended=best.name,
            summary=summary(found),
            reasons=tuple(reasons(found)),
            fine_tuning=tune,
            fine_tuning_reason=why,
            labels_needed=() if found.verdict == NOTHING else needed,
            near_duplicates=self._duplicates.pairs,
            near_duplicate_count=self._duplicates.count,
            group_count=self._duplicates.groups.count,
            head_lead=HeadLead(found.head.name, lead.gain, lead.low, lead.high),
            direct_code=self._direct_code,
        )


def _check(
    embeddings: Mapping[str, NDArray[Any]],
    raw: Raw,
    labels: Sequence[str],
    targets: NDArray[np.intp],
) -> None:
    for name, rows in (*embeddings.items(), ("raw", raw)):
        if len(rows) != len(targets):
            raise InvalidExamples(
                f"there are {len(targets)} labels for {len(rows)} inputs of {name}",
                field="labels",
                limit=len(rows),
                value=len(targets),
            )
    if len(labels) < MIN_CLASSES:
        raise InvalidExamples(
            f"the examples have {len(labels)} label, at least {MIN_CLASSES} are needed",
            field="labels",
            limit=MIN_CLASSES,
            value=len(labels),
        )


def _check_groups(
    labels: Sequence[str], targets: NDArray[np.intp], groups: NDArray[np.intp]
) -> None:
    classes = len(labels)
    held = held_out(targets, groups, classes)
    if np.count_nonzero(np.bincount(targets[held], minlength=classes)) < MIN_CLASSES:
        counts = groups_by_class(targets, groups, classes)
        fewest = int(np.argsort(-counts, kind="stable")[MIN_CLASSES - 1])
        rarest = labels[fewest]
        raise InvalidExamples(
            f"label {rarest!r} has {counts[fewest]} example or group of examples, at least "
            f"{LEAST_GROUPS} are needed of {MIN_CLASSES} labels",
            field=f"labels[{rarest}]",
            limit=LEAST_GROUPS,
            value=int(counts[fewest]),
        )
