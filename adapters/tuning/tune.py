"""Tunes a tail, on folds first and then on all examples, and takes it where it is better."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from adapters.errors import InvalidExamples, InvalidSpec
from adapters.examples import MIN_CLASSES, Examples, Views
from adapters.families import REGISTRY
from adapters.folds import grouped_folds
from adapters.problem import Problem
from adapters.progress import Progress, ignore_progress
from adapters.report import FineTuningReport
from adapters.spec import HeadSpec, ViewSet
from adapters.training import Fitted, weigh_classes
from adapters.tuning.checkpoint import CheckpointStore
from adapters.tuning.classifier import Classifier
from adapters.tuning.epoch_trainer import BatchSource, Learner
from adapters.tuning.interfaces import (
    Activations,
    Checkpoints,
    Clock,
    Name,
    Tunable,
    Tuned,
    TunedTail,
    ViewsOf,
)
from adapters.tuning.schedule import Plan
from adapters.tuning.training_loop import Effort, FoldRun, TrainingLoop, best_epoch
from adapters.tuning.validation import Validator, validate_base
from adapters.tuning.view_choice import Choice, ViewChoice

FEW = 500
FOLDS_OF_FEW, FOLDS = 5, 3
"""Up to `FEW` examples there are more folds: every one of them trains a tail."""


def tune(
    tail: Tunable,
    activations: Activations,
    labels: Sequence[str],
    spec: HeadSpec,
    *,
    base: Fitted,
    embeddings: NDArray[np.float32],
    name: Name,
    clock: Clock,
    progress: Progress = ignore_progress,
    checkpoints: Checkpoints | None = None,
    weights: ArrayLike | None = None,
    views: Views | None = None,
    views_of: ViewsOf | None = None,
    base_seconds: float = 0.0,
    threads: int | None = None,
    device: str = "cpu",
    bfloat16: bool | None = None,
) -> Tuned:
    """Fine-tune a tail for one head; take it if it is better than the head without it.

    Tuning starts from the head on the frozen backbone (LP-FT; Kumar et al. 2022,
    https://arxiv.org/abs/2202.10054), fitted anew without the held-out examples in every
    fold, with lower rates towards the input, AdamW and one cycle. All folds go through the same
    epochs. Their number is the one with the lowest mean log-loss of held-out examples after
    calibration; then a tail is tuned on all examples for as many. What is served on it is a head
    of the same family as `base`, fitted to its features. That head's strength, temperature,
    conformal sets and estimate come from the folds: from heads of this family on the features
    of tails that had not seen the examples they score.

    The tail is taken if, on the same folds, it lowers the log-loss of the head without it enough
    (`adapters.tuning.validation.Gain`) and accuracy does not fall. Its estimate is a little too
    high, because epochs and strength were chosen on the very examples.

    Views that the spec names are drawn from at random. Where it names none and `views_of` can
    make some, the folds choose (`adapters.tuning.view_choice`), in at most about twice the time.

    Examples may come in any order. On one machine, with the same number of threads, the same
    arguments give the same tail.

    Args:
        tail: the module to tune, with the backbone's weights; it is left as it was.
        activations: what enters it, of each example and of the views that the spec names.
        labels: one per example.
        spec: what to train; `spec.fine_tune` says what of the tail, and how.
        base: the head on the frozen backbone, by `fit` and `diagnose`: tuning starts from it.
        embeddings: what `base` was fitted to, of shape (n, dim).
        name: gives a tail's fingerprint; called once, if the tail is taken.
        clock: returns the seconds that the report and guesses of the remaining time are made of.
        progress: called after every epoch of every fold, with `TuningProgress` as details.
        checkpoints: keeps the state after every epoch. A tuning that finds one of the same
            examples and spec goes on from there and gives what it would have given. None keeps
            states in memory: for each fold four times the weights that are tuned.
        weights: what each example counts, as for `fit`.
        views: what `fit` was given as `views` for `base`, if anything.
        views_of: gives activations with views that are tried; None for inputs without any.
        base_seconds: that `base` took, for the report.
        threads: of torch on the CPU; None leaves its setting as it is.
        device: where to compute, as torch names it.
        bfloat16: whether to train in it; None where the processor computes in it. Features are
            always computed in float32.

    Raises:
        InvalidExamples: if there are not two classes with two groups of examples each, or counts do
            not agree.
        InvalidSpec: if nothing is to be tuned, or the learning rate is so high that numbers
            overflow.
    """
    if not spec.fine_tune.wanted:
        strategy = spec.fine_tune.strategy
        raise InvalidSpec(
            f"fine_tune.strategy {strategy!r} tunes nothing",
            field="fine_tune.strategy",
            limit="another one",
            value=strategy,
        )
    examples = Examples.of(embeddings, labels, weights)
    if base.groups is not None:
        examples = examples.grouped(base.groups.numbers)
    if not examples.estimable:
        found = int(np.count_nonzero(examples.estimated))
        raise InvalidExamples(
            f"{found} of the classes have examples in two groups: a tail that is tuned on all of "
            "what is known of a class cannot be compared, it takes two such classes at least",
            field="examples",
            limit=MIN_CLASSES,
            value=found,
        )
    if len(activations) != len(labels):
        raise InvalidExamples(
            f"there are activations of {len(activations)} examples for {len(labels)} labels",
            field="activations",
            limit=len(labels),
            value=len(activations),
        )
    with _threads(threads):
        tuning = _Tuning(spec, base, examples, views, clock, base_seconds)
        learner = Learner(
            tail,
            activations,
            device=device,
            bfloat16=_computes_in_bfloat16(device) if bfloat16 is None else bfloat16,
        )
        store = CheckpointStore(checkpoints, tuning.mark())
        chosen = tuning.choose_views(learner, store, activations, views_of, progress)
        return tuning.conclude(learner, chosen, name)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Set torch's number of threads for a while."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _computes_in_bfloat16(device: str) -> bool:
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


class _Tuning:
    """One call of `tune`; arrays are in the order of `examples`, not in the caller's."""

    def __init__(
        self,
        spec: HeadSpec,
        base: Fitted,
        examples: Examples,
        views: Views | None,
        clock: Clock,
        base_seconds: float,
    ) -> None:
        self._spec, self._base, self._examples, self._views = spec, base, examples, views
        self._clock, self._began, self._base_seconds = clock, clock(), base_seconds
        self._weights = examples.weights * weigh_classes(spec, examples)[examples.targets]
        n = len(examples.targets)
        held, groups = examples.held, examples.groups
        count = min(len(np.unique(groups[held])), FOLDS_OF_FEW if n <= FEW else FOLDS)
        self._folds = grouped_folds(examples.targets, groups, held, count, spec.seed)

    def mark(self) -> str:
        """Return a digest of all that decides the outcome but the tail, its activations and views.

        Names of states say which views they are of.
        """
        mark = hashlib.blake2b(digest_size=16)
        fine_tune = replace(self._spec.fine_tune, views=None, flips=False)
        spec = replace(self._spec, fine_tune=fine_tune, average_views=0)
        facts = {"spec": spec.to_json(), "labels": self._examples.labels}
        mark.update(json.dumps(facts, sort_keys=True).encode())
        examples, head = self._examples, self._base.head
        for array in (
            *(examples.order, examples.targets, examples.embeddings, self._weights),
            *(head.weight, head.bias, np.array(head.temperature)),
            self._folds,
        ):
            mark.update(np.ascontiguousarray(array).tobytes())
        return mark.hexdigest()

    def choose_views(
        self,
        learner: Learner,
        store: CheckpointStore,
        activations: Activations,
        views_of: ViewsOf | None,
        progress: Progress,
    ) -> Choice:
        """Tune on the folds with the views that the spec names, or with those that they choose."""
        plan, effort = Plan.of(self._spec.fine_tune, len(learner.blocks)), Effort()
        folds, named = int(self._folds.max()) + 1, self._spec.fine_tune.named_views
        if named is None and views_of is None:
            named = ViewSet()

        def begin(views: ViewSet) -> TrainingLoop:
            found = activations if named or views_of is None or not views.count else views_of(views)
            runs = [self._fold(fold, views, found) for fold in range(folds)]
            whole = self._whole(views, found)
            return TrainingLoop(
                views, learner, plan, runs, whole, store, effort, self._clock, progress
            )

        choice = ViewChoice(plan, folds, store, effort, begin)
        return choice.choose() if named is None else choice.named(named)

    def conclude(self, learner: Learner, chosen: Choice, name: Name) -> Tuned:
        """Compare on the folds and, if the tail is better, tune on all examples."""
        loop = chosen.loop
        epochs = best_epoch(loop.curve)
        validator = Validator(
            self._base.head.family, self._examples, self._weights, self._folds, self._spec
        )
        without = validate_base(self._base, self._examples, self._weights, self._views, self._folds)
        order = self._examples.order
        gain = validator.compare(without, [loop.embed_fold(run, order) for run in loop.folds])
        tuned = learner.blocks[-loop.plan.stage(epochs).blocks :]
        tail, fitted, averaged = None, self._base, None
        if gain.used and loop.views.count:
            seen = [loop.embed_held_views(run) for run in loop.folds]
            averaged = validator.average(gain, seen)
        if gain.used:
            loop.run_whole(epochs)
            tensors = {name: value for block in tuned for name, value in block.arrays()}
            features = learner.embed(np.arange(len(self._folds)))
            tail = TunedTail(tensors, name(tensors), features)
            fitted = validator.fit(self._base, gain, features, tail.fingerprint)
        seconds = self._clock() - self._began + loop.effort.seconds_before
        report = FineTuningReport(
            strategy=self._spec.fine_tune.strategy,
            used=gain.used,
            reason=gain.reason,
            without_tail=gain.without.estimate,
            with_tail=gain.result.estimate,
            seconds_without=self._base_seconds,
            seconds_with=self._base_seconds + seconds,
            bytes_without=len(self._base.head.to_safetensors()),
            bytes_with=sum(block.nbytes for block in tuned) + len(fitted.head.to_safetensors()),
            blocks=tuple(block.name for block in tuned),
            epochs=epochs,
            curve=tuple(loop.curve),
            epoch_seconds=loop.epoch_seconds,
            views=loop.views.kind,
            view_count=loop.views.count,
            tried=tuple(chosen.trials),
            averaged=averaged,
        )
        return Tuned(replace(fitted, report=replace(fitted.report, fine_tuning=report)), tail)

    def _fold(self, fold: int, views: ViewSet, activations: Activations) -> FoldRun:
        """Return the training without a fold; its classifier has not seen the fold, either."""
        head, examples = self._base.head, self._examples
        assert head.front is not None
        rest = self._folds != fold
        features = head.front.features(examples.embeddings[rest])
        classes, seed = len(examples.labels), self._spec.seed
        targets, weights = examples.targets[rest], self._weights[rest]
        problem = Problem.of(features, targets, classes, seed, weights)
        solved = REGISTRY[head.family].begin(problem).solve(head.l2)
        start = Classifier(head.front, *solved, head.temperature)
        return FoldRun(
            name=f"{views.name}-fold-{fold}",
            fold=fold + 1,
            source=self._source(rest, activations, fold + 1),
            start=start,
            held=examples.order[~rest],
            targets=examples.targets[~rest],
            groups=examples.groups[~rest],
        )

    def _whole(self, views: ViewSet, activations: Activations) -> FoldRun:
        """Return the training on all examples."""
        head = self._base.head
        assert head.front is not None
        solved = head.front.unfold(head.weight.astype(np.float64), head.bias.astype(np.float64))
        none = np.empty(0, dtype=np.intp)
        return FoldRun(
            name=f"{views.name}-whole",
            fold=0,
            source=self._source(np.ones(len(self._folds), dtype=bool), activations, 0),
            start=Classifier(head.front, *solved, head.temperature),
            held=none,
            targets=none,
            groups=none,
        )

    def _source(
        self, some: NDArray[np.bool_], activations: Activations, number: int
    ) -> BatchSource:
        weights = self._weights[some]
        return BatchSource(
            rows=self._examples.order[some],
            targets=self._examples.targets[some],
            weights=weights / weights.mean(),
            activations=activations,
            seed=(self._spec.seed, number),
        )
