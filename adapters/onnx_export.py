"""Heads as ONNX graphs: embeddings in, probabilities out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from adapters.fronts import NORMALISE, PROJECTION, Front
from adapters.head import Head

OPSET = 17
IR_VERSION = 8
"""Old enough for runtimes of 2022 on; what comes with onnx by default may be too new for them."""

SMALLEST_LENGTH = 1e-300
"""In the place of a length of 0, so that rows of zeros stay zeros."""


def to_onnx(head: Head) -> bytes:
    """Return a graph from "embedding", float32 [n, dim], to "probabilities", float32 [n, classes].

    It computes in float64, as `Head.probabilities` does, and agrees with it to 1e-5. Labels (a JSON
    list), fingerprint and family are in its metadata. Novelty and conformal sets are left out.
    """
    graph = _Graph()
    rows = graph.add("Cast", "embedding", to=TensorProto.DOUBLE)
    if head.front is not None and not head.front.folds:
        rows = _serve(graph, head.front, rows)
    logits = graph.add("MatMul", rows, graph.constant(head.weight.T.astype(np.float64)))
    logits = graph.add("Add", logits, graph.constant(head.bias.astype(np.float64)))
    logits = graph.add("Div", logits, graph.constant(np.float64(head.temperature)))
    odds = graph.add("Softmax", logits, axis=1)
    graph.add("Cast", odds, output="probabilities", to=TensorProto.FLOAT)
    return graph.to_bytes(head)


def _serve(graph: _Graph, front: Front, rows: str) -> str:
    """Add what `Front.serve` computes and return the name of its output."""
    if front.kind == NORMALISE:
        rows = _unit(graph, rows)
        if not front.unit:
            return rows
    rows = graph.add("Sub", rows, graph.constant(front.mean.astype(np.float64)))
    rows = graph.add("Div", rows, graph.constant(front.scale.astype(np.float64)))
    if front.kind == PROJECTION:
        # As signs of one byte, which are far smaller; runtimes widen them once, when they load.
        signs = graph.constant(np.sign(front.signs).astype(np.int8))
        signs = graph.add("Cast", signs, to=TensorProto.DOUBLE)
        rows = graph.add("MatMul", rows, signs)
        rows = graph.add("Div", rows, graph.constant(np.sqrt(np.float64(front.dim))))
        rows = graph.add("Relu", rows)
        rows = graph.add("Sub", rows, graph.constant(1 / np.sqrt(2 * np.pi)))
    return _unit(graph, rows) if front.unit else rows


def _unit(graph: _Graph, rows: str) -> str:
    squares = graph.add("Mul", rows, rows)
    total = graph.add("ReduceSum", squares, graph.constant(np.array([1])), keepdims=1)
    length = graph.add("Sqrt", total)
    length = graph.add("Max", length, graph.constant(np.float64(SMALLEST_LENGTH)))
    return graph.add("Div", rows, length)


class _Graph:
    """Nodes and constants in the order they were added."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        """Add an array and return its name."""
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def to_bytes(self, head: Head) -> bytes:
        """Return the checked model as a file."""
        classes = len(head.labels)
        graph = helper.make_graph(
            self._nodes,
            "head",
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", head.dim])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", classes])],
            self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name="trunkline",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        metadata = {
            "labels": json.dumps(head.labels, ensure_ascii=False),
            "fingerprint": head.fingerprint,
            "family": head.family,
        }
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString()
        return data
