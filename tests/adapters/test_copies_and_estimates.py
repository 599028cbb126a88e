"""An interval holds the truth as often as it says, also where photos were stored again and again.

60 photos of two classes that overlap, each stored several times with a little noise. The truth is
the accuracy of the head that was trained, on very many fresh photos.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

import adapters
from adapters import HeadSpec
from adapters.examples import Examples
from adapters.families import REGISTRY
from adapters.fronts import Front
from adapters.problem import Problem
from tests.adapters.groups_data import saved_again

SEEDS = range(100)
PHOTOS = 60

Photos = tuple[np.ndarray, list[str]]


@dataclass(frozen=True)
class World:
    """Where photos come from, and the family that learns from them."""

    family: str
    dim: int
    distance: float

    def draw(self, count: int, seed: int) -> Photos:
        """Different photos; the classes are the same for all seeds."""
        means = np.random.default_rng(99).normal(size=(2, self.dim))
        means *= self.distance / np.sqrt(self.dim)
        rng = np.random.default_rng(seed)
        targets = rng.permutation(np.arange(count) % 2)
        rows = 1.0 + means[targets] + rng.normal(size=(count, self.dim))
        return rows.astype(np.float32), [f"class {target}" for target in targets]

    def stored(self, seed: int) -> Photos:
        """60 photos, each two to six times."""
        photos = self.draw(PHOTOS, seed)
        return saved_again(*photos, copies=2 + seed % 5, seed=seed, noise=0.05)[:2]


WORLDS = [
    pytest.param(World("prototype", 48, 2.0), id="prototype"),
    pytest.param(World("ridge", 16, 3.0), id="ridge", marks=pytest.mark.long),
]


@cache
def fresh(world: World) -> Photos:
    return world.draw(20_000, 12345)


@pytest.mark.costly
@pytest.mark.parametrize("world", WORLDS)
def test_interval_over_photos_and_their_copies_holds_the_truth(world: World) -> None:
    unseen, right = fresh(world)
    held = 0
    for seed in SEEDS:
        rows, labels = world.stored(seed)
        fitted = adapters.fit(rows, labels, HeadSpec(world.family), fingerprint="f00d")
        estimate = fitted.report.estimate
        assert estimate is not None
        assert estimate.groups == PHOTOS
        predicted = fitted.head.logits(unseen).argmax(axis=1)
        truth = float(np.mean(predicted == fitted.head.class_indices(right)))
        held += estimate.accuracy_low <= truth <= estimate.accuracy_high
    assert held >= 90


@pytest.mark.costly
@pytest.mark.parametrize("world", WORLDS)
def test_without_groups_it_would_not(world: World) -> None:
    """The same family, folds and interval, as if every copy were a photo of its own."""
    unseen, right = fresh(world)
    targets = np.unique(right, return_inverse=True)[1]
    family = REGISTRY[world.family]
    held = 0
    for seed in SEEDS:
        examples = Examples.of(*world.stored(seed))
        front = Front.of("standardise", examples.embeddings, examples.weights)
        front = replace(front, unit=family.unit)
        problem = Problem.of(front.features(examples.embeddings), examples.targets, 2, 0)
        fit = family.begin(problem)
        l2 = fit.choose(lambda share: None).l2
        logits = fit.held_out(l2, problem.folds)
        found = adapters.evaluation(logits, examples.targets, examples.labels, 1.0, "folds")
        weight, bias = fit.solve(l2)
        predicted = (front.features(unseen) @ weight.T + bias).argmax(axis=1)
        truth = float(np.mean(predicted == targets))
        held += found.estimate.accuracy_low <= truth <= found.estimate.accuracy_high
    assert held < 75
