"""What is tuned when, and how fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.spec import FineTune

WARM_UP = 0.3
"""Share of a cycle in which the rate rises."""

START, END = 1 / 25, 1e-4
"""Rate at the beginning of a cycle and, of that, at its end, as shares of the highest."""

PATIENCE = 4
"""Epochs without a lower validation loss after which a tuning stops."""


def one_cycle(position: float) -> float:
    """Return the rate at a position in a cycle, from 0 to 1, as a share of the highest.

    One cycle (Smith and Topin 2017, https://arxiv.org/abs/1708.07120) in the form that is usual
    today: both legs are half a cosine.
    """
    if position < WARM_UP:
        return _between(START, 1.0, position / WARM_UP)
    return _between(1.0, START * END, (position - WARM_UP) / (1 - WARM_UP))


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class Stage:
    """Epochs of one cycle with the same blocks unfrozen.

    Attributes:
        first: the first epoch, counted from 1.
        epochs: how many there are.
        blocks: blocks that are tuned, counted from the output.
    """

    first: int
    epochs: int
    blocks: int

    @property
    def last(self) -> int:
        """The last epoch."""
        return self.first + self.epochs - 1


@dataclass(frozen=True)
class Plan:
    """Stages and rates of a tuning; the same for every fold and for all examples.

    Attributes:
        stages: one after the other.
        rate: highest rate of the last block.
        decay: factor from each block to the one before it.
    """

    stages: tuple[Stage, ...]
    rate: float
    decay: float

    @classmethod
    def of(cls, spec: FineTune, blocks: int) -> Plan:
        """Return the plan of a strategy for so many blocks.

        "gradual" takes a stage a block, from the last one on (Howard and Ruder 2018, section 3.3);
        the stages share the epochs.
        """
        if spec.strategy == "gradual":
            count = min(blocks, spec.max_epochs)
            ends = [round(spec.max_epochs * (stage + 1) / count) for stage in range(count)]
            starts = [0, *ends[:-1]]
            stages = tuple(
                Stage(start + 1, end - start, stage + 1)
                for stage, (start, end) in enumerate(zip(starts, ends, strict=True))
            )
        else:
            stages = (Stage(1, spec.max_epochs, 1 if spec.strategy == "last_block" else blocks),)
        return cls(stages, spec.learning_rate, spec.rate_decay)

    @property
    def epochs(self) -> int:
        """Epochs at most."""
        return self.stages[-1].last

    def stage(self, epoch: int) -> Stage:
        """Return the stage of an epoch, counted from 1."""
        return next(stage for stage in self.stages if epoch <= stage.last)

    def rates(self, epoch: int, done: float, blocks: int) -> list[float]:
        """Return the rate of each of so many blocks, from the cut to the output; 0 if frozen.

        Args:
            epoch: counted from 1.
            done: share of the epoch that is done, from 0 to 1.
            blocks: all there are.
        """
        stage = self.stage(epoch)
        now = self.rate * one_cycle((epoch - stage.first + done) / stage.epochs)
        distances = range(blocks - 1, -1, -1)
        return [now * self.decay**d if d < stage.blocks else 0.0 for d in distances]

    def goes_on(self, losses: Sequence[float]) -> bool:
        """Return whether another epoch is worth it after these validation losses, one an epoch.

        Within a stage, unless the last `PATIENCE` epochs brought nothing; after it, if it brought
        something.
        """
        done = len(losses)
        if done >= self.epochs:
            return False
        best = 1 + min(range(done), key=losses.__getitem__)
        stage = self.stage(done)
        if done == stage.last:
            return best >= stage.first
        return done - best < PATIENCE
