"""Heads leave as graphs that give the same probabilities."""

from __future__ import annotations

import functools
import json

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

import adapters
from adapters.onnx_export import to_onnx
from adapters.spec import FRONTS
from tests.adapters.graphs import run_graph

DIM = 24
TOLERANCE = 1e-5
FINGERPRINT = "f00d"


@functools.cache
def examples() -> tuple[NDArray[np.float32], list[str]]:
    random = np.random.default_rng(5)
    labels = [str(i % 4) for i in range(80)]
    rows = random.normal(size=(80, DIM)) * random.uniform(0.1, 5, DIM) + 3
    rows[np.arange(80), [int(label) for label in labels]] += 4
    return rows.astype(np.float32), labels


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("family", adapters.FAMILIES)
def test_graph_gives_the_probabilities_of_the_head(family: str, front: str) -> None:
    rows, labels = examples()
    spec = adapters.HeadSpec(family=family, front=front, seed=3)
    head = adapters.fit(rows, labels, spec, fingerprint=FINGERPRINT).head
    random = np.random.default_rng(0)
    near_nothing = random.normal(size=(5, DIM)) * 1e-4
    inputs = np.vstack([rows[:5] * 1000, np.zeros((1, DIM)), near_nothing, rows])
    inputs = inputs.astype(np.float32)
    graph = to_onnx(head)
    np.testing.assert_allclose(run_graph(graph, inputs), head.probabilities(inputs), atol=TOLERANCE)
    assert run_graph(graph, inputs[:0]).shape == (0, 4)
    info = onnxruntime.InferenceSession(graph).get_modelmeta().custom_metadata_map
    assert json.loads(info["labels"]) == list(head.labels)
    assert info["fingerprint"] == FINGERPRINT
