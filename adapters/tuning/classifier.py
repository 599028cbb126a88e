"""A head as a torch module, for a tuning to start from."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adapters.fronts import NORMALISE, PROJECTION, Front

LEAST_ROWS = 8
"""Embeddings that a batch must have for its own mean and scale to say anything."""


class Classifier(nn.Module):
    """Logits of embeddings: a front and a linear layer that learns.

    While it learns, the front standardises each batch by the batch's own mean and scale. A tail
    that is tuned shifts all its embeddings at once, further than a linear layer can follow; what
    counts is how they lie to one another, and the head that is served gets a front of its own.
    `fit_front` fits the front to a tail as it is, to score with. A projection's signs never change.

    Args:
        front: what the head was trained behind.
        weight: float64 of shape (classes, features), for the front's features.
        bias: float64 of shape (classes,).
        temperature: divides the logits, so that they begin calibrated.
    """

    mean: Tensor
    scale: Tensor
    signs: Tensor

    def __init__(
        self,
        front: Front,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        temperature: float,
    ) -> None:
        super().__init__()
        self._front = front
        self.register_buffer("mean", torch.tensor(front.mean))
        self.register_buffer("scale", torch.tensor(front.scale))
        signs = front.signs if front.kind == PROJECTION else np.empty(0)
        self.register_buffer("signs", torch.tensor(signs, dtype=torch.float32))
        self.weight = nn.Parameter(torch.tensor(weight / temperature, dtype=torch.float32))
        self.bias = nn.Parameter(torch.tensor(bias / temperature, dtype=torch.float32))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return logits (n, classes) of embeddings (n, dim)."""
        return self._features(embeddings) @ self.weight.T + self.bias

    def fit_front(self, embeddings: Tensor) -> None:
        """Fit the front to embeddings (n, dim), unless they are too few."""
        if len(embeddings) >= LEAST_ROWS:
            self.mean, self.scale = _moments(self._lengths(embeddings))

    def _features(self, rows: Tensor) -> Tensor:
        """Do what `Front.features` does, in float32."""
        rows = self._lengths(rows)
        own = self.training and len(rows) >= LEAST_ROWS
        mean, scale = _moments(rows) if own else (self.mean, self.scale)
        rows = (rows - mean) / scale
        if self._front.kind == PROJECTION:
            rows = (rows @ self.signs).relu() - 1 / math.sqrt(2 * math.pi)
        return nn.functional.normalize(rows, dim=1) if self._front.unit else rows

    def _lengths(self, rows: Tensor) -> Tensor:
        return nn.functional.normalize(rows, dim=1) if self._front.kind == NORMALISE else rows


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and scale (dim,) of rows (n, dim), as `Front.of` does."""
    variance, mean = torch.var_mean(rows, dim=0, correction=0)
    variance = variance + variance.mean() / 4
    return mean, torch.sqrt(torch.where(variance > 0, variance, 1.0))
