"""Replies of the API as tensors of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest
from service.requests.tensors import from_tensor
from service.transport.protocols.oip.asking import Wanted
from service.transport.protocols.oip.tensors import BYTES, Output
from service.transport.rest_bodies import DECISIONS
from trunkline.v1 import common_pb2, extraction_pb2, prediction_pb2

RANKED = "probabilities"
"""The output whose best classes can be asked for."""


def predicted(
    reply: prediction_pb2.PredictResponse, faults: Mapping[int, str], wanted: Sequence[Wanted]
) -> list[Output]:
    """Returns the outputs of a head.

    A row that failed has an empty label, zeros, and its error; one that the head gives no answer to
    has an empty label and zeros alone.

    Raises:
        InvalidRequest: one is wanted that the head does not give.
    """
    (group,) = reply.predictions
    count, labels = len(reply.digests), [label.encode() for label in group.labels]
    best, probabilities = [b""] * count, np.zeros((count, len(labels)), np.float32)
    silent = group.novel if group.abstains else ()
    indices, scores = _array(group.indices), _array(group.probabilities)
    for place, row in enumerate(group.rows):
        if not (silent and silent[place]):
            best[row] = labels[indices[place, 0]]
            probabilities[row, indices[place]] = scores[place]
    outputs = [
        Output("label", BYTES, (count,), best),
        Output("probability", "FP32", (count,), _largest(probabilities)),
        Output(RANKED, "FP32", probabilities.shape, probabilities),
        Output("classes", BYTES, (len(labels),), labels),
        *_common(reply, count, faults),
    ]
    if group.HasField("novelty"):
        novelty, novel = np.zeros(count, np.float32), np.zeros(count, np.bool_)
        rows = list(group.rows)
        novelty[rows], novel[rows] = _array(group.novelty), list(group.novel)
        outputs += [
            Output("novelty", "FP32", (count,), novelty),
            Output("novel", "BOOL", (count,), novel),
        ]
    if group.decisions:
        decisions = [b""] * count
        for row, decision in zip(group.rows, group.decisions, strict=True):
            decisions[row] = DECISIONS[decision].encode()
        outputs.append(Output("decision", BYTES, (count,), decisions))
    if group.described:
        outputs.append(Output("described", "BOOL", (count,), np.ones(count, np.bool_)))
    return _chosen(outputs, wanted, labels, [bool(label) for label in best])


def embedded(
    reply: extraction_pb2.EmbedResponse, faults: Mapping[int, str], wanted: Sequence[Wanted]
) -> list[Output]:
    """Returns the outputs of a backbone; the embedding of a row that failed is all zeros.

    Raises:
        InvalidRequest: one is wanted that there is not.
    """
    vectors = _array(reply.embeddings)
    outputs = [
        Output("embedding", "FP32", vectors.shape, vectors),
        *_common(reply, len(reply.digests), faults),
    ]
    return _chosen(outputs, wanted, (), ())


def _common(
    reply: prediction_pb2.PredictResponse | extraction_pb2.EmbedResponse,
    count: int,
    faults: Mapping[int, str],
) -> list[Output]:
    errors, truncated = [b""] * count, np.zeros(count, np.bool_)
    for error in reply.errors:
        errors[error.row] = f"{error.code}: {error.message}".encode()
    for row, fault in faults.items():
        errors[row] = fault.encode("utf-8", "replace")
    truncated[list(reply.truncated)] = True
    return [
        Output("error", BYTES, (count,), errors),
        Output("truncated", "BOOL", (count,), truncated),
    ]


def _chosen(
    outputs: Sequence[Output],
    wanted: Sequence[Wanted],
    labels: Sequence[bytes],
    answered: Sequence[bool],
) -> list[Output]:
    if not wanted:
        return list(outputs)
    named = {output.name: output for output in outputs}
    chosen: list[Output] = []
    for each in wanted:
        if each.name not in named:
            names = ", ".join(named)
            raise InvalidRequest.at("outputs", "must be of {limit}, is {value!r}", names, each.name)
        output = named[each.name]
        if any(output.name == other.name for other in chosen):
            raise InvalidRequest.at("outputs", "has {value!r} twice", "each once", each.name)
        chosen.append(_ranked(output, each.classes, labels, answered) if each.classes else output)
    return chosen


def _ranked(
    output: Output, classes: int, labels: Sequence[bytes], answered: Sequence[bool]
) -> Output:
    """Returns the best classes of each row, as Triton's extension "classification" writes them."""
    if output.name != RANKED:
        raise InvalidRequest.at(
            "outputs.parameters.classification", "is for {limit} alone, not {value}",
            RANKED, output.name,
        )  # fmt: skip
    assert isinstance(output.values, np.ndarray)
    most = min(classes, len(labels))
    values: list[bytes] = []
    for row, scores in enumerate(output.values):
        order = np.argsort(-scores, kind="stable")[:most]
        values += (
            [b"%.6f:%d:%b" % (scores[index], index, labels[index]) for index in order]
            if answered[row]
            else [b""] * most
        )
    return Output(output.name, BYTES, (len(output.values), most), values)


def _largest(probabilities: NDArray[Any]) -> NDArray[Any]:
    largest: NDArray[Any] = probabilities.max(axis=1, initial=0.0)
    return largest


def _array(tensor: common_pb2.Tensor) -> NDArray[Any]:
    return from_tensor(tensor, field="reply", dtypes=("uint32", "float32"))
