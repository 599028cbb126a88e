"""Tails and whole models with weights of their own, made without training.

Their outputs mean nothing: every weight is the backbone's and a little noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

import models
from models.networks import CutNetwork
from models.tails import write_tail

BACKBONE = "efficientnet/lite0"
NOISE = 0.01
"""Its standard deviation, in units of each weight."""


def network() -> CutNetwork:
    """Return the backbone's network."""
    return models.load_backbone_network(BACKBONE).network


def changed_tail(network: CutNetwork, fingerprint: str, seed: int) -> bytes:
    """Return the file of a tail in which all blocks after the cut were changed.

    Args:
        fingerprint: of the backbone.
    """
    rng = np.random.default_rng(seed)
    tensors = {
        name: _changed(tensor.detach().numpy(), rng)
        for name, tensor in network.tail().named_tensors()
        if tensor.requires_grad  # statistics of batch normalisation stand still
    }
    return write_tail(fingerprint, tensors, whole=False)


def write_models(graph: Path, folder: Path, count: int) -> None:
    """Write so many ONNX files of the whole backbone.

    Args:
        graph: the backbone's own, as a server keeps it.
        folder: is made.
    """
    folder.mkdir(parents=True)
    model = onnx.load(graph)
    weights = [(tensor, numpy_helper.to_array(tensor)) for tensor in model.graph.initializer]
    for number in range(count):
        rng = np.random.default_rng(number)
        for tensor, values in weights:
            if values.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(_changed(values, rng), tensor.name))
        (folder / f"{number:03}.onnx").write_bytes(model.SerializeToString())


def _changed(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    noise = rng.normal(scale=NOISE, size=values.shape).astype(np.float32)
    return values * (1 + noise)
