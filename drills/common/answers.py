"""Answers of heads, and the states of a head that they are recomputed from, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import adapters
from adapters.live import live_head
from models import Backbone, load_backbone
from models.backbone import PreparedInput

TOLERANCE = 5e-3
"""Of a probability: batches round differently, and steep heads make more of it."""


class Probes:
    """Texts to ask about, and what backbone and tails make of them, one row at a time."""

    def __init__(self, name: str, cache_dir: Path, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self._backbone: Backbone = load_backbone(
            name, engine="onnxruntime", device="cpu", cache_dir=cache_dir, threads=1
        )
        self._rows: list[PreparedInput] = [self._backbone.preprocess(text) for text in texts]
        self.fingerprint = self._backbone.fingerprint
        self.embeddings = np.concatenate([self._backbone.forward([row]) for row in self._rows])
        self._tails: dict[bytes, NDArray[np.float32]] = {}

    @cached_property
    def _activations(self) -> list[NDArray[np.float32]]:
        return [self._backbone.activations([row])[0] for row in self._rows]

    def on_tail(self, data: bytes) -> NDArray[np.float32]:
        """Embeddings (n, dim) by a tail."""
        if data not in self._tails:
            tail = self._backbone.load_tail(data)
            rows = [tail.run([states]) for states in self._activations]
            self._tails[data] = np.concatenate(rows)
            tail.close()
        return self._tails[data]


@dataclass(eq=False)
class State:
    """What answers for a head: a version of an incarnation of it, or its live copy.

    Attributes:
        incarnation: which of the heads that had the name one after the other.
        version: that answers name; 0 where there is none, so that the head gives no answer.
        head: of the version; None until it is known.
        tail: that it runs on; empty for none.
        taught: rows of the probes that the live copy stands on, and their labels; None for the
            version itself.
    """

    incarnation: str
    version: int = 0
    head: adapters.Head | None = None
    tail: bytes = b""
    taught: Mapping[int, str] | None = None

    def __str__(self) -> str:
        taught = "" if self.taught is None else f", taught {len(self.taught)}"
        return f"{self.incarnation} version {self.version}{taught}"

    def table(self, probes: Probes) -> dict[str, NDArray[np.float32]]:
        """Probabilities (n,) of all probes, by label."""
        if self._table is None:
            head = self.head
            assert head is not None
            if self.taught is not None:
                rows, labels = list(self.taught), list(self.taught.values())
                head = live_head(head, probes.embeddings[rows], labels).head
            inputs = probes.on_tail(self.tail) if self.tail else probes.embeddings
            columns = head.probabilities(inputs).T
            self._table = dict(zip(head.labels, columns, strict=True))
        return self._table

    _table: dict[str, NDArray[np.float32]] | None = field(default=None, init=False, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """One row of an answer.

    Attributes:
        asked, answered: when, on the monotonic clock.
        probe: the row of the probes.
        version: 0 if it was said that there is no such head, or no active version.
    """

    head: str
    asked: float
    answered: float
    probe: int
    version: int
    scores: Mapping[str, float]


def fits(answer: Answer, state: State, probes: Probes) -> bool:
    """Whether the state gives this answer."""
    if not (state.version and answer.version):
        return state.version == answer.version
    if state.version != answer.version or state.head is None:
        return False
    return distance(answer, state, probes) <= TOLERANCE


def distance(answer: Answer, state: State, probes: Probes) -> float:
    """How far the answer is from the state's: the largest difference of a probability."""
    if state.head is None:
        return 1.0
    table = state.table(probes)
    if table.keys() != answer.scores.keys():
        return 1.0
    return max(abs(float(table[y][answer.probe]) - p) for y, p in answer.scores.items())
