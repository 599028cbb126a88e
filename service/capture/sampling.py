"""Which rows of the traffic are taken: draws and a few comparisons, as every prediction waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from adapters import Head
from service.capture.rules import CaptureRules

RANDOM, CONFORMAL, UNCERTAIN, NOVEL = "random", "conformal", "uncertain", "novel"
ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """What a head said of rows.

    Attributes:
        labels: of the classes.
        order: indices of the classes, shape (rows, classes), the most probable first.
        probabilities: shape (rows, classes), in the order of the labels.
        novelty: shape (rows,), above 1 for a novel row; None where none is told.
    """

    labels: tuple[str, ...]
    order: NDArray[np.intp]
    probabilities: NDArray[np.float32]
    novelty: NDArray[np.float32] | None

    def is_novel(self, place: int) -> bool:
        """Returns whether a row is like none of the examples, as far as that is told."""
        return self.novelty is not None and bool(self.novelty[place] > 1)

    def margin(self, place: int) -> float:
        """Returns by how much a row's highest probability is above the next."""
        order, row = self.order[place], self.probabilities[place]
        return float(row[order[0]] - row[order[1]]) if len(order) > 1 else 1.0


class Sampler:
    """Takes rows as rules say. Each row is decided on by itself.

    Args:
        seed: the same one takes the same rows; None for other ones every time.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._draw: Callable[[], float] = Random(seed).random

    def choose(
        self, rules: CaptureRules, head: Head, rows: ScoredRows
    ) -> Iterator[tuple[int, str]]:
        """Yields the places of the rows that are taken, and the rule that did.

        Rows are drawn at random before any other rule is asked, so that those are a fair sample of
        the traffic.
        """
        draw, share = self._draw, rules.share
        for place in range(len(rows.order)):
            if draw() >= share:
                continue
            if draw() < rules.random_share:
                yield place, RANDOM
            elif draw() < rules.conformal_share and _is_open(rules, head, rows, place):
                yield place, CONFORMAL
            elif draw() < rules.uncertain_share and rows.margin(place) < rules.uncertain_margin:
                yield place, UNCERTAIN
            elif draw() < rules.novel_share and rows.is_novel(place):
                yield place, NOVEL


def _is_open(rules: CaptureRules, head: Head, rows: ScoredRows, place: int) -> bool:
    """Returns whether a row's set has not exactly one class; no head without scores has sets."""
    if head.conformal is None or len(head.labels) != len(rows.labels):
        return False
    return not head.conformal.has_one_class(
        rows.probabilities[place], head.temperature, rules.conformal_level
    )
