"""Heads as ONNX graphs."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray


def run_graph(graph: bytes, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"embedding": embeddings})
    return np.asarray(probabilities)
