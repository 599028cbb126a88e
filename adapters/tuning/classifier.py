"""A head as a torch module, for a tuning to start from."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adapters.fronts import NORMALISE, PROJECTION, Front


class Classifier(nn.Module):
    """Logits of embeddings: a front, which stays as it is, and a linear layer that learns.

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

    def _features(self, rows: Tensor) -> Tensor:
        """Do what `Front.features` does, in float32."""
        if self._front.kind == NORMALISE:
            rows = nn.functional.normalize(rows, dim=1)
        rows = (rows - self.mean) / self.scale
        if self._front.kind == PROJECTION:
            rows = (rows @ self.signs).relu() - 1 / math.sqrt(2 * math.pi)
        return nn.functional.normalize(rows, dim=1) if self._front.unit else rows
