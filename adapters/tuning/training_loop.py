"""The epochs of a tuning: on folds, which take turns, and then on all examples."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.calibration import calibrated_losses
from adapters.errors import InvalidSpec
from adapters.progress import Progress
from adapters.report import TuningEpoch
from adapters.spec import ViewSet
from adapters.tuning.checkpoint import CheckpointStore, State
from adapters.tuning.classifier import Classifier
from adapters.tuning.epoch_trainer import BatchSource, Learner, Rows
from adapters.tuning.interfaces import Clock, TuningProgress
from adapters.tuning.schedule import Plan

LARGEST_LOGIT = 1e6
"""Beyond it a training is lost."""

LOGITS = "|logits"
"""Name of held-out logits in a state."""


@dataclass(frozen=True, eq=False)
class FoldRun:
    """One training of a tail.

    Attributes:
        name: of its state.
        fold: counted from 1; 0 for the training on all examples.
        source: the examples it learns from.
        start: the classifier it begins with, which has not seen the held-out examples either.
        held: held-out examples, as `Activations` counts them; shape (k,).
        targets: their classes; shape (k,).
        groups: numbers of the groups that they belong to; shape (k,).
    """

    name: str
    fold: int
    source: BatchSource
    start: Classifier
    held: Rows
    targets: NDArray[np.intp]
    groups: NDArray[np.intp]

    @property
    def best(self) -> str:
        """Name of its state after the best epoch."""
        return f"best-{self.name}"

    def ahead(self, epoch: int) -> str:
        """Name of its state after an epoch that it was trained to ahead of the other folds."""
        return f"{self.name}-at-{epoch}"


@dataclass(eq=False)
class Effort:
    """What the trainings of a tuning take: of all views that are tried, and on all examples.

    Attributes:
        passes: epochs of all folds, and of all examples, so far.
        most_passes: how many there can be at most.
        seconds: of these epochs.
        seconds_before: of those before a restart.
    """

    passes: int = 0
    most_passes: int = 0
    seconds: float = 0.0
    seconds_before: float = 0.0

    def add(self, passes: int, seconds: float) -> None:
        """Count what a training took before a restart."""
        self.passes += passes
        self.seconds += seconds
        self.seconds_before += seconds

    @property
    def remaining_seconds(self) -> float:
        """A guess: all that there can be, as fast as so far."""
        return self.seconds / self.passes * (self.most_passes - self.passes)


class TrainingLoop:
    """Runs trainings epoch by epoch and keeps their states.

    Every epoch begins from a state that was kept and ends with one: going on after a restart is
    what happens all the time. Folds go through the same epochs; the first one alone may be ahead.

    Args:
        views: what the folds are trained on beside the examples themselves.
        learner: trains one epoch.
        plan: the same for all runs.
        folds: one run for each.
        whole: the run on all examples.
        store: keeps states.
        effort: of all loops of a tuning; this one's is added.
        clock: returns seconds.
        progress: called after every epoch.
    """

    def __init__(
        self,
        views: ViewSet,
        learner: Learner,
        plan: Plan,
        folds: Sequence[FoldRun],
        whole: FoldRun,
        store: CheckpointStore,
        effort: Effort,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self.views, self.folds, self.plan, self.effort = views, folds, plan, effort
        self._learner, self._whole = learner, whole
        self._store, self._clock, self._progress = store, clock, progress
        states = {run.name: store.load(run.name) for run in (*folds, whole)}
        self._facts = {name: dict(state.facts) for name, state in states.items() if state}
        """Of the latest state of each run."""
        for facts in self._facts.values():
            effort.add(len(facts["seconds"]), sum(facts["seconds"]))
        known = store.load(self._epochs)
        self.curve = [TuningEpoch(**epoch) for epoch in known.facts["curve"]] if known else []
        """Means over the folds after each epoch of all of them."""

    @property
    def _epochs(self) -> str:
        return f"epochs-{self.views.name}"

    @property
    def goes_on(self) -> bool:
        """Whether another epoch of the folds is worth it."""
        losses = [epoch.validation_loss for epoch in self.curve]
        return not losses or self.plan.goes_on(losses)

    def advance(self) -> None:
        """Train all folds for one more epoch."""
        number = len(self.curve) + 1
        states = [self._advance(run, number, self.plan.epochs) for run in self.folds]
        self.curve.append(self._mean(number, states))
        if best_epoch(self.curve) == number:
            for run, state in zip(self.folds, states, strict=True):
                self._store.save(run.best, State(_weights_and_logits(state)))
        facts = {"curve": [asdict(epoch) for epoch in self.curve]}
        self._store.save(self._epochs, State(facts=facts))

    def run_ahead(self, epochs: int) -> NDArray[np.float64]:
        """Train the first fold alone for so many epochs; returns its held-out logits after them."""
        run = self.folds[0]
        for number in range(1, epochs + 1):
            state = self._advance(run, number, self.plan.epochs)
            self._store.save(run.ahead(number), State(_weights_and_logits(state), state.facts))
        return self._logits([state])

    def best_logits(self) -> NDArray[np.float64]:
        """Return held-out logits of all folds, one after the other, after the best epoch."""
        states = [self._store.load(run.best) for run in self.folds]
        return self._logits([state for state in states if state is not None])

    def run_whole(self, epochs: int) -> None:
        """Train on all examples for so many epochs; the learner then holds the result."""
        done = self._facts[self._whole.name]["epoch"] if self._whole.name in self._facts else 0
        for number in range(done + 1, epochs + 1):
            self._advance(self._whole, number, epochs)
        self._resume(self._whole, self._whole.name)

    def embed_fold(self, run: FoldRun, rows: Rows) -> NDArray[np.float32]:
        """Return features (m, dim) of examples by a fold's tail after the best epoch."""
        self._resume(run, run.best)
        return self._learner.embed(rows)

    def embed_held_views(self, run: FoldRun) -> NDArray[np.float32]:
        """Return features (views, m, dim) of views of its held-out examples, likewise."""
        self._resume(run, run.best)
        views = range(1, run.source.activations.views + 1)
        return np.stack(
            [self._learner.embed(run.held, run.source.activations, view) for view in views]
        )

    @property
    def passes(self) -> int:
        """Epochs of its folds so far, and those on all examples."""
        return sum(len(facts["seconds"]) for facts in self._facts.values())

    @property
    def seconds(self) -> float:
        """Seconds of these."""
        return sum(sum(facts["seconds"]) for facts in self._facts.values())

    @property
    def epoch_seconds(self) -> float:
        """Median seconds of training on as many examples as there are, once each."""
        everything = len(self._whole.source.rows)
        runs = {run.name: run for run in (*self.folds, self._whole)}
        passes = [
            seconds * everything / len(runs[name].source.rows)
            for name, facts in self._facts.items()
            for seconds in facts["training"]
        ]
        return float(np.median(passes))

    def _resume(self, run: FoldRun, name: str) -> None:
        state = self._store.load(name)
        assert state is not None
        self._learner.begin(copy.deepcopy(run.start))
        self._learner.restore(state)

    def _advance(self, run: FoldRun, number: int, epochs: int) -> State:
        """Return the state of a run after an epoch, which is run unless it was already."""
        state = self._store.load(run.name)
        facts: Mapping[str, Any] = state.facts if state else {"training": [], "seconds": []}
        if state is not None and facts["epoch"] > number:
            state = self._store.load(run.ahead(number))
            assert state is not None
        if state is not None and state.facts["epoch"] == number:
            return state
        began = self._clock()
        self._learner.begin(copy.deepcopy(run.start))
        if state is not None:
            self._learner.restore(state)
        loss = self._learner.train(self.plan, number, run.source)
        if not math.isfinite(loss):
            raise self._diverged()
        trained = self._clock()
        tensors = self._learner.state()
        validation_loss = validation_accuracy = None
        if len(run.held):
            self._learner.fit_front(run.source)
            logits = self._learner.logits(run.held)
            tensors[LOGITS] = torch.from_numpy(logits)
            validation_loss, validation_accuracy = self._validate(logits, run.targets)
        took = self._clock() - began
        self.effort.passes += 1
        self.effort.seconds += took
        facts = self._facts[run.name] = {
            "epoch": number,
            "loss": loss,
            "training": [*facts["training"], trained - began],
            "seconds": [*facts["seconds"], took],
        }
        state = State(tensors, facts)
        self._store.save(run.name, state)
        reached = TuningProgress(
            fold=run.fold,
            folds=len(self.folds),
            epoch=number,
            epochs=epochs,
            loss=loss,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            remaining_seconds=self._remaining(run, epochs - number),
            views=self.views.kind,
            passes=self.effort.passes,
            most_passes=self.effort.most_passes,
        )
        self._progress(reached.done, "fine-tuning", asdict(reached))
        return state

    def _mean(self, number: int, states: Sequence[State]) -> TuningEpoch:
        sizes = [len(run.source.rows) for run in self.folds]
        loss = float(np.average([state.facts["loss"] for state in states], weights=sizes))
        targets = np.concatenate([run.targets for run in self.folds])
        return TuningEpoch(number, loss, *self._validate(self._logits(states), targets))

    @staticmethod
    def _logits(states: Sequence[State]) -> NDArray[np.float64]:
        return np.concatenate([state.tensors[LOGITS].numpy() for state in states])

    def _validate(
        self, logits: NDArray[np.float64], targets: NDArray[np.intp]
    ) -> tuple[float, float]:
        """Return the log-loss after calibration and the accuracy."""
        if not (np.abs(logits) <= LARGEST_LOGIT).all():
            raise self._diverged()
        _, losses = calibrated_losses(logits[None], targets)
        return float(losses[0]), float(np.mean(logits.argmax(axis=1) == targets))

    def _diverged(self) -> InvalidSpec:
        return InvalidSpec(
            f"fine-tuning diverges at fine_tune.learning_rate {self.plan.rate:g}, lower it",
            field="fine_tune.learning_rate",
            limit="lower",
            value=self.plan.rate,
        )

    def _remaining(self, run: FoldRun, left: int) -> float:
        """Guess how long all trainings that may follow will take, from the epochs so far."""
        if run.fold:
            return self.effort.remaining_seconds
        return left * float(np.mean(self._facts[run.name]["seconds"]))


def best_epoch(curve: Sequence[TuningEpoch]) -> int:
    """Return the epoch, counted from 1, with the lowest mean validation loss."""
    return 1 + int(np.argmin([epoch.validation_loss for epoch in curve]))


def _weights_and_logits(state: State) -> dict[str, torch.Tensor]:
    """Return the tensors of a state that its optimizer does not need."""
    tensors = state.tensors
    return {key: value for key, value in tensors.items() if "|" not in key or key == LOGITS}
