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
    """

    name: str
    fold: int
    source: BatchSource
    start: Classifier
    held: Rows
    targets: NDArray[np.intp]

    @property
    def best(self) -> str:
        """Name of its state after the best epoch."""
        return f"best-{self.name}"


class TrainingLoop:
    """Runs trainings epoch by epoch and keeps their states.

    Every epoch begins from a state that was kept and ends with one: going on after a restart is
    what happens all the time.

    Args:
        learner: trains one epoch.
        plan: the same for all runs.
        folds: one run for each.
        whole: the run on all examples.
        store: keeps states.
        clock: returns seconds.
        progress: called after every epoch.
    """

    def __init__(
        self,
        learner: Learner,
        plan: Plan,
        folds: Sequence[FoldRun],
        whole: FoldRun,
        store: CheckpointStore,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._learner, self._plan, self._folds, self._whole = learner, plan, folds, whole
        self._store, self._clock, self._progress = store, clock, progress
        states = {run.name: store.load(run.name) for run in (*folds, whole)}
        self._facts = {name: dict(state.facts) for name, state in states.items() if state}
        """Of the latest state of each run."""
        self.here = 0.0
        """Seconds of epochs that were run by this object, not before a restart."""

    def run_folds(self) -> list[TuningEpoch]:
        """Train all folds as long as that is worth it; returns the means after each epoch."""
        known = self._store.load("epochs")
        curve = [TuningEpoch(**epoch) for epoch in known.facts["curve"]] if known else []
        while not curve or self._plan.goes_on([epoch.validation_loss for epoch in curve]):
            number = len(curve) + 1
            states = [self._advance(run, number, self._plan.epochs) for run in self._folds]
            curve.append(self._mean(number, states))
            if best_epoch(curve) == number:
                for run, state in zip(self._folds, states, strict=True):
                    weights = {key: value for key, value in state.tensors.items() if "|" not in key}
                    self._store.save(run.best, State(weights))
            facts = {"curve": [_plain(epoch) for epoch in curve]}
            self._store.save("epochs", State(facts=facts))
        return curve

    def run_whole(self, epochs: int) -> None:
        """Train on all examples for so many epochs; the learner then holds the result."""
        for number in range(1, epochs + 1):
            self._advance(self._whole, number, epochs)
        self._resume(self._whole, self._whole.name)

    def embed_fold(self, run: FoldRun, rows: Rows) -> NDArray[np.float32]:
        """Return features (m, dim) of examples by a fold's tail after the best epoch."""
        self._resume(run, run.best)
        return self._learner.embed(rows)

    @property
    def seconds(self) -> float:
        """Seconds of all epochs, those before a restart included."""
        return sum(sum(facts["seconds"]) for facts in self._facts.values())

    @property
    def epoch_seconds(self) -> float:
        """Median seconds of training on as many examples as there are, once each."""
        everything = len(self._whole.source.rows)
        runs = {run.name: run for run in (*self._folds, self._whole)}
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
        if state is not None and facts["epoch"] >= number:
            return state
        began = self._clock()
        self._learner.begin(copy.deepcopy(run.start))
        if state is not None:
            self._learner.restore(state)
        loss = self._learner.train(self._plan, number, run.source)
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
        self.here += took
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
            folds=len(self._folds),
            epoch=number,
            epochs=epochs,
            loss=loss,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            remaining_seconds=self._remaining(run, number, epochs),
        )
        self._progress(reached.done, "fine-tuning", asdict(reached))
        return state

    def _mean(self, number: int, states: Sequence[State]) -> TuningEpoch:
        sizes = [len(run.source.rows) for run in self._folds]
        loss = float(np.average([state.facts["loss"] for state in states], weights=sizes))
        logits = np.concatenate([state.tensors[LOGITS].numpy() for state in states])
        targets = np.concatenate([run.targets for run in self._folds])
        return TuningEpoch(number, loss, *self._validate(logits, targets))

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
            f"fine-tuning diverges at fine_tune.learning_rate {self._plan.rate:g}, lower it",
            field="fine_tune.learning_rate",
            limit="lower",
            value=self._plan.rate,
        )

    def _remaining(self, run: FoldRun, number: int, epochs: int) -> float:
        """Guess from the seconds an example took so far how long all others will take."""
        runs = (*self._folds, self._whole)
        done = {other.name: self._facts.get(other.name, {"epoch": 0})["epoch"] for other in runs}
        rows = {other.name: len(other.source.rows) for other in runs}
        seen = sum(rows[name] * count for name, count in done.items())
        left = rows[self._whole.name] * (epochs - done[self._whole.name])
        if run.fold:
            left += sum(rows[other.name] * (epochs - done[other.name]) for other in self._folds)
        return float(self.seconds / seen * left)


def best_epoch(curve: Sequence[TuningEpoch]) -> int:
    """Return the epoch, counted from 1, with the lowest mean validation loss."""
    return 1 + int(np.argmin([epoch.validation_loss for epoch in curve]))


def _plain(epoch: TuningEpoch) -> dict[str, float]:
    return {name: getattr(epoch, name) for name in TuningEpoch.__slots__}
