"""The demo's data sets as embeddings, computed at most once."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

import models
from service.demo import data
from service.demo.data import Labelled

SAMPLE = 2000
HELD_OUT = 500
"""Examples that are left out of the largest trainings, to test them."""

BATCH = 32

DATA: dict[str, tuple[models.Modality, Callable[[Path], list[Labelled]]]] = {
    "textile": (models.Modality.IMAGE, data.textile),
    "digits": (models.Modality.IMAGE, data.digits),
    "sentiment": (models.Modality.TEXT, data.sentiment),
}

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Embedded:
    """A data set: float32 embeddings of shape (n, dim) and labels of shape (n,)."""

    name: str
    embeddings: NDArray[np.float32]
    labels: NDArray[np.str_]

    @property
    def all(self) -> int:
        """The largest size of a training that leaves enough to test it with."""
        return len(self.labels) - HELD_OUT

    def split(self, size: int, seed: int, within: Rows | None = None) -> tuple[Rows, Rows]:
        """Deal all rows, or some, into `size` and the rest, both with a share of every class."""
        rows = np.arange(len(self.labels)) if within is None else within
        some, rest = train_test_split(
            rows, train_size=size, stratify=self.labels[rows], random_state=seed
        )
        return some, rest

    def take(self, rows: Rows) -> tuple[NDArray[np.float32], list[str]]:
        """Return embeddings and labels of some rows."""
        return self.embeddings[rows], self.labels[rows].tolist()


@functools.cache
def embedded(name: str, cache: Path) -> Embedded:
    """Return a data set whose embeddings are kept in the folder `cache`."""
    path = cache / f"{name}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _embed(name, path)
    with np.load(path) as stored:
        return Embedded(name, stored["embeddings"], stored["labels"])


def _embed(name: str, path: Path) -> None:
    modality, load = DATA[name]
    examples = load(path.parent)
    random.Random(0).shuffle(examples)
    inputs, labels = zip(*examples[:SAMPLE], strict=True)
    backbone = models.load_backbone(models.default_backbone(modality), cache_dir=path.parent)
    prepared = [
        backbone.preprocess(item.read_bytes() if isinstance(item, Path) else item)
        for item in inputs
    ]
    starts = range(0, len(prepared), BATCH)
    batches = [backbone.forward(prepared[start : start + BATCH]) for start in starts]
    backbone.close()
    np.savez(path, embeddings=np.concatenate(batches), labels=np.array(labels))
