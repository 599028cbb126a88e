"""Chooses the views that a tail is tuned on: on the folds, within a bounded effort.

Flips are tried beside no views; crops only where flips were given up early, so that effort is left.
Views are tried on the first fold for a few epochs and given up if they are surely worse there.
Those that are not go through the same epochs of all folds as no views do, in turns, until it is
decided: the race ends before the last epochs, so that what was lost on the others is no more than
what the tuning takes with the chosen views alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adapters.errors import ViewsUnavailable
from adapters.estimate import ValidationResult
from adapters.json_reading import read
from adapters.report import TuningEpoch, ViewTrial
from adapters.spec import CROPPED, CROPS, FLIPPED, FLIPS, ViewSet
from adapters.tuning.checkpoint import CheckpointStore, State
from adapters.tuning.schedule import PATIENCE, Plan
from adapters.tuning.training_loop import Effort, TrainingLoop
from adapters.tuning.validation import SURE, standard_error

CANDIDATES = (ViewSet(FLIPPED, FLIPS), ViewSet(CROPPED, CROPS))
"""What is tried beside no views, in this order."""

SPARE_EPOCHS = {FLIPPED: 1, CROPPED: 2}
"""Epochs before the last that a race ends: they pay for the activations of the views that lost, of
crops and of flips before them. An activation costs about as much as training on it once."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The loop of the chosen views, with its folds trained to the end, and what was tried."""

    loop: TrainingLoop
    trials: Sequence[ViewTrial]


@dataclass(frozen=True, eq=False)
class _Decision:
    """What became of views, and what was lost on those that were given up, these or none."""

    trial: ViewTrial
    given_up: bool
    passes: int = 0
    seconds: float = 0.0

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> _Decision:
        """Read one from the facts of a state."""
        trial = read(ViewTrial, facts["trial"])
        return cls(trial, facts["given_up"], facts["passes"], facts["seconds"])


class ViewChoice:
    """Tries views; what it decides is kept beside the states, so that it is decided once.

    Args:
        plan: of every loop.
        folds: how many there are.
        store: keeps decisions.
        effort: of all loops; is told how much there can be at most.
        begin: makes the loop of some views, for which it computes their activations; raises
            `ViewsUnavailable` if they cannot be made.
    """

    def __init__(
        self,
        plan: Plan,
        folds: int,
        store: CheckpointStore,
        effort: Effort,
        begin: Callable[[ViewSet], TrainingLoop],
    ) -> None:
        self._plan, self._folds, self._store = plan, folds, store
        self._effort, self._begin = effort, begin
        self._few = min(PATIENCE, max(1, plan.epochs // 4))
        self._loops: dict[ViewSet, TrainingLoop] = {}
        self._lost = 0
        """Passes of views that were given up."""

    def named(self, views: ViewSet) -> Choice:
        """Train the folds on these views and no others."""
        self._limit(rivals=0)
        return self._finish(views, ())

    def choose(self) -> Choice:
        """Try candidates as far as the effort goes, and train the folds of the best one."""
        affordable = CANDIDATES if self._plan.epochs > PATIENCE else CANDIDATES[:1]
        why = "there are too few epochs to pay for it"
        trials: list[ViewTrial] = []
        for place, views in enumerate(affordable):
            self._limit(rivals=len(affordable) - place)
            found = self._decide("trial", views, self._try)
            if not found.given_up:
                self._limit(rivals=1)
                found = self._decide("race", views, self._race)
                why = f"{views} took all the effort that may be lost"
            trials.append(found.trial)
            if found.trial.folds == self._folds:
                break
        self._limit(rivals=0)
        trials += [_untried(views, why) for views in CANDIDATES[len(trials) :]]
        chosen = (ViewSet(one.views, one.count) for one in trials if one.chosen)
        return self._finish(next(chosen, ViewSet()), trials)

    def _finish(self, views: ViewSet, trials: Sequence[ViewTrial]) -> Choice:
        loop = self._loop(views)
        while loop.goes_on:
            loop.advance()
        return Choice(loop, trials)

    def _decide(
        self, step: str, views: ViewSet, decide: Callable[[ViewSet], _Decision]
    ) -> _Decision:
        """Decide, unless that was done before a restart."""
        state = self._store.load(f"{step}-{views.name}")
        if state is None:
            found = decide(views)
            self._store.save(f"{step}-{views.name}", State(facts=asdict(found)))
        else:
            found = _Decision.read(state.facts)
            self._effort.add(found.passes, found.seconds)  # the loop that lost is not made again
        self._lost += found.passes
        return found

    def _try(self, views: ViewSet) -> _Decision:
        """Train the first fold for a few epochs; views that are surely worse are given up."""
        try:
            loop = self._loop(views)
        except ViewsUnavailable as error:
            return _Decision(_untried(views, str(error)), given_up=True)
        none = self._loop(ViewSet())
        targets, groups = none.folds[0].targets, none.folds[0].groups
        method = f"1 of {self._folds} folds"
        without, tried = (
            ValidationResult.of(one.run_ahead(self._few), targets, 1, groups, method=method)
            for one in (none, loop)
        )
        differences = tried.losses(targets) - without.losses(targets)
        by, doubt = float(differences.mean()), standard_error(differences, groups)
        trial = ViewTrial(
            views=views.kind,
            count=views.count,
            folds=1,
            epochs=self._few,
            estimate=tried.estimate,
            without=without.estimate,
            chosen=False,
            reason=f"given up: the log-loss is higher by {by:.4f} ± {doubt:.4f}",
        )
        if by > SURE * doubt:
            return _Decision(trial, True, loop.passes, loop.seconds)
        return _Decision(trial, False)

    def _race(self, views: ViewSet) -> _Decision:
        """Train all folds both ways, epoch by epoch, until one is ahead for good."""
        none, loop = self._loop(ViewSet()), self._loop(views)
        done = 0
        while not self._decided(none.curve[:done], loop.curve[:done], SPARE_EPOCHS[views.kind]):
            done += 1
            for one in (none, loop):
                if len(one.curve) < done:
                    one.advance()
        targets = np.concatenate([run.targets for run in none.folds])
        groups = np.concatenate([run.groups for run in none.folds])
        without, tried = (
            ValidationResult.of(one.best_logits(), targets, self._folds, groups)
            for one in (none, loop)
        )
        chosen = tried.estimate.log_loss < without.estimate.log_loss
        trial = ViewTrial(
            views=views.kind,
            count=views.count,
            folds=self._folds,
            epochs=done,
            estimate=tried.estimate,
            without=without.estimate,
            chosen=chosen,
            reason=f"{'chosen' if chosen else 'not chosen'}: the log-loss is "
            f"{'lower' if chosen else 'not lower'} than without",
        )
        lost = none if chosen else loop
        return _Decision(trial, not chosen, lost.passes, lost.seconds)

    def _decided(
        self, one: Sequence[TuningEpoch], other: Sequence[TuningEpoch], spare: int
    ) -> bool:
        """Return whether the leader may end within the spare epochs, or either has ended."""
        if not one:
            return False
        curves = [[epoch.validation_loss for epoch in curve] for curve in (one, other)]
        leader = min(curves, key=min)
        return not all(map(self._plan.goes_on, (*curves, [*leader, *[math.inf] * spare])))

    def _loop(self, views: ViewSet) -> TrainingLoop:
        if views not in self._loops:
            self._loops[views] = self._begin(views)
        return self._loops[views]

    def _limit(self, rivals: int) -> None:
        """Tell how many passes there can be while so many views may still be tried."""
        epochs = self._plan.epochs
        most = (self._folds + 1) * epochs
        if rivals:
            most += self._folds * max(1, epochs - 1) + self._few * (rivals - 1)
        self._effort.most_passes = self._lost + most


def _untried(views: ViewSet, why: str) -> ViewTrial:
    return ViewTrial(views.kind, views.count, reason=f"not tried: {why}")
