"""A small convolutional network for digits of 8 x 8 pixels, trained in this process."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from shared import WRITTEN, Labelled
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SIDE, WIDTH = 8, 64
"""Pixels along each side of a picture, and length of what all layers make of it."""

BATCH, LEARNING_RATE = 50, 2e-3

SETTINGS = f"""
modality: image
input: pixels
output: features
resize: {SIDE}
crop: {SIDE}
mean: [0, 0, 0]
std: [1, 1, 1]
"""


@dataclass(frozen=True)
class SmallNetwork:
    """`features` turns pixels (n, 3, 8, 8), from 0 to 1, into (n, 64); `last` has a row a label."""

    features: nn.Sequential
    last: nn.Linear
    labels: tuple[str, ...]

    @property
    def convolutions(self) -> nn.Sequential:
        """All but the dense layer: (n, 1024)."""
        return nn.Sequential(*list(self.features)[:-2])

    def accuracy(self, examples: Sequence[Labelled]) -> float:
        """The share of the examples that are recognised, from 0 to 1."""
        with torch.inference_mode():
            found = self.last(self.features(pixels(examples))).argmax(1)
        return float((found == _targets(examples, self.labels)).float().mean())


def train(
    examples: Sequence[Labelled], seed: int, epochs: int, start: SmallNetwork | None = None
) -> SmallNetwork:
    """Trains a network, from the features of `start` where there is one; all of it learns."""
    torch.manual_seed(seed)
    labels = tuple(sorted({label for _, label in examples}))
    features = _features() if start is None else copy.deepcopy(start.features)
    last = nn.Linear(WIDTH, len(labels))
    inputs, targets = pixels(examples), _targets(examples, labels)
    parameters = [*features.parameters(), *last.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(targets)).split(BATCH):
            optimiser.zero_grad()
            cross_entropy(last(features(inputs[rows])), targets[rows]).backward()
            optimiser.step()
    return SmallNetwork(features.eval(), last.eval(), labels)


def pixels(examples: Sequence[Labelled]) -> Tensor:
    """float32 of shape (n, 3, 8, 8), from 0 to 1: what the server makes of the same images."""
    images = [Image.open(io.BytesIO(data)) for data, _ in examples if isinstance(data, bytes)]
    stacked = np.stack([np.asarray(image.convert("RGB"), np.float32) for image in images])
    return torch.from_numpy(stacked / 255).permute(0, 3, 1, 2).contiguous()


def write_backbone(network: nn.Sequential, variant: str) -> None:
    """Write `VARIANT.onnx`, and the `VARIANT.yaml` that says what it takes and gives."""
    WRITTEN.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, SIDE, SIDE),),
            WRITTEN / f"{variant}.onnx",
            input_names=["pixels"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            external_data=False,
            verbose=False,
        )
    (WRITTEN / f"{variant}.yaml").write_text(SETTINGS, encoding="utf-8")


def _features() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (SIDE // 2) ** 2, WIDTH),
        nn.ReLU(),
    )


def _targets(examples: Sequence[Labelled], labels: Sequence[str]) -> Tensor:
    return torch.tensor([labels.index(label) for _, label in examples])
