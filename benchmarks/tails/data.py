"""Activations of the demo's data sets at their backbones' cuts, computed at most once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import models
from adapters.tuning import Tensors
from benchmarks.learning.data import BATCH, DATA, SAMPLE, Rows
from models.networks.base import Tail
from models.views import make_flips, make_views

CUT = "activations"
"""In the names of files."""


@dataclass(frozen=True, eq=False)
class Stored:
    """Activations of examples and their views; see `adapters.tuning.Activations`.

    Attributes:
        states: float16 of shape (1 + views, n, ...), texts padded to the longest.
        lengths: tokens of each text, of shape (n,); None for images.
    """

    states: NDArray[np.float16]
    lengths: NDArray[np.intp] | None = None

    @property
    def views(self) -> int:
        """Views of each example."""
        return len(self.states) - 1

    def __len__(self) -> int:
        return int(self.states.shape[1])

    def rows(self, examples: Rows, views: Rows) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        """States and mask of some examples' views."""
        states = self.states[views, examples]
        if self.lengths is None:
            return states, None
        lengths = self.lengths[examples]
        longest = int(lengths.max())
        return states[:, :longest], (np.arange(longest) < lengths[:, None]).astype(np.int64)

    def take(self, rows: Rows, views: slice = slice(None)) -> Stored:
        """Return some of the examples, and with `views` some of their views beside them."""
        lengths = None if self.lengths is None else self.lengths[rows]
        own, others = self.states[:1], self.states[1:][views]
        return Stored(np.concatenate([own[:, rows], others[:, rows]]), lengths)


@dataclass(frozen=True, eq=False)
class Cut:
    """A data set at the cut of its backbone.

    Attributes:
        activations: of all examples.
        embeddings: float32 of shape (n, dim), by the backbone's own blocks.
        labels: of shape (n,).
        tail: those blocks.
    """

    activations: Stored
    embeddings: NDArray[np.float32]
    labels: NDArray[np.str_]
    tail: Tail

    def embed(self, tensors: Tensors, rows: Rows, views: int | None = None) -> NDArray[np.float32]:
        """Embed some examples and their first views by a tail in which some weights are others.

        Args:
            views: how many of each; None for all.

        Returns:
            float32 of shape (1 + views, m, dim).
        """
        own = dict(self.tail.named_tensors())
        before = {name: own[name].detach().clone() for name in tensors}
        _assign(own, {name: torch.tensor(values) for name, values in tensors.items()})
        count = self.activations.views if views is None else views
        try:
            return np.stack(
                [embed(self.tail, self.activations, rows, view) for view in range(1 + count)]
            )
        finally:
            _assign(own, before)


def _assign(own: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


def embed(tail: Tail, activations: Stored, rows: Rows, view: int = 0) -> NDArray[np.float32]:
    """Embed a view of some examples by a tail."""
    parts = []
    for first in range(0, len(rows), BATCH):
        some = rows[first : first + BATCH]
        states, mask = activations.rows(some, np.full_like(some, view))
        with torch.no_grad():
            given = torch.from_numpy(states).float()
            parts.append(tail(given, None if mask is None else torch.from_numpy(mask)))
    embedded: NDArray[np.float32] = torch.cat(parts).numpy()
    return embedded


def cut(name: str, cache: Path, flips: int, crops: int = 0, sample: int = SAMPLE) -> Cut:
    """Return a data set whose activations, with those of views, are kept in the folder `cache`.

    Args:
        flips, crops: views of each image, in this order.
        sample: examples at most.
    """
    modality, _ = DATA[name]
    backbone = models.default_backbone(modality)
    tail = models.load_backbone_network(backbone).network.tail().eval()
    path = cache / f"{name}-{CUT}-{flips}-flips-{crops}-crops-{sample}.npy"
    facts = path.with_suffix(".npz")
    if not facts.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _compute(name, path, facts, flips, crops, sample)
    with np.load(facts) as stored:
        labels = stored["labels"]
        lengths = stored["lengths"] if modality is models.Modality.TEXT else None
    activations = Stored(np.load(path, mmap_mode="r"), lengths)
    return Cut(activations, embed(tail, activations, np.arange(len(labels))), labels, tail)


def _compute(name: str, path: Path, facts: Path, flips: int, crops: int, sample: int) -> None:
    modality, load = DATA[name]
    examples = load(path.parent)
    random.Random(0).shuffle(examples)
    inputs, labels = zip(*examples[:sample], strict=True)
    backbone = models.load_backbone(models.default_backbone(modality), cache_dir=path.parent)
    states: NDArray[np.float16] | None = None
    lengths = np.zeros(len(labels), dtype=np.intp)
    found: list[NDArray[np.float16]] = []
    for row, item in enumerate(inputs):
        raw = item.read_bytes() if isinstance(item, Path) else item
        views: Sequence[models.RawInput] = [raw]
        if flips or crops:
            assert not isinstance(raw, str)
            views = [raw, *make_flips(raw, flips), *make_views(raw, crops)]
        prepared = [backbone.preprocess(view) for view in views]
        found = [array.astype(np.float16) for array in backbone.activations(prepared)]
        lengths[row] = len(found[0])
        if states is None:
            shape = (1 + flips + crops, len(labels), *_shape(found[0], modality))
            states = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        for view, array in enumerate(found):
            states[view, row, : len(array)] = array
    backbone.close()
    np.savez(facts, labels=np.array(labels), lengths=lengths)


def _shape(states: NDArray[np.float16], modality: models.Modality) -> tuple[int, ...]:
    """Return a shape that any row fits into."""
    return states.shape if modality is models.Modality.IMAGE else (256, *states.shape[1:])
