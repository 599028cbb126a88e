"""Predicting: inputs to embeddings, rows grouped by head, calibrated probabilities out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapters import Head
from models import InputLimits
from service.calls import Call
from service.embeddings import Embeddings, Resolved
from service.errors import FingerprintMismatch, InvalidRequest, PreconditionFailed
from service.extraction import BackboneInfo, Extractor
from service.grouping import group_rows_by_head
from service.inputs import RawInput, read_inputs, to_tensor
from service.live import LiveCopies, Policy
from service.loaded_heads import LoadedHead, LoadedHeads
from service.messages import row_error
from service.metrics import Metrics
from trunkline.resources import HeadName
from trunkline.v1 import prediction_pb2

INLINE_MULTIPLICATIONS = 4_000_000
"""Up to here a matrix product takes up to two milliseconds and stays on the event loop."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The rows of one head in one request."""

    loaded: LoadedHead
    backbone: BackboneInfo
    rows: list[int]


class Prediction:
    """The use case behind ``Predict``."""

    def __init__(
        self,
        extractor: Extractor,
        embeddings: Embeddings,
        heads: LoadedHeads,
        live: LiveCopies,
        limits: InputLimits,
        max_rows: int,
        metrics: Metrics,
    ) -> None:
        self._extractor = extractor
        self._embeddings = embeddings
        self._heads = heads
        self._live = live
        self._limits = limits
        self._max_rows = max_rows
        self._metrics = metrics

    async def predict(
        self, request: prediction_pb2.PredictRequest, call: Call
    ) -> prediction_pb2.PredictResponse:
        """Classifies every row; a row that fails costs itself alone."""
        started = time.perf_counter()
        self._check(request)
        outcomes: dict[int, Resolved | Exception] = {}
        groups = await self._groups(request, outcomes)
        raws = await read_inputs(request.inputs, self._limits)
        for backbone, rows in _rows_by_backbone(groups):
            resolved = await self._embeddings.resolve(
                call.tenant, backbone, [raws[row] for row in rows], deadline=call.deadline
            )
            outcomes.update(zip(rows, resolved, strict=True))
        scored = time.perf_counter()
        response = prediction_pb2.PredictResponse(
            digests=[raw.digest if isinstance(raw, RawInput) else "" for raw in raws]
        )
        for group in groups:
            response.predictions.append(await _score(group, outcomes, request))
        ended = time.perf_counter()
        for group in groups:
            seconds = (ended - scored) / len(groups)
            self._metrics.observe_head(group.backbone.name, seconds)
        self._finish(response, outcomes, call, ended - scored, ended - started)
        return response

    def _check(self, request: prediction_pb2.PredictRequest) -> None:
        check_rows("inputs", len(request.inputs), self._max_rows)
        if request.heads and len(request.heads) != len(request.inputs):
            raise InvalidRequest(
                f"heads: needs one per input ({len(request.inputs)}), has {len(request.heads)}",
                field="heads",
                limit=len(request.inputs),
                value=len(request.heads),
            )
        if request.heads:
            HeadName.parse(request.head)
        if request.HasField("conformal_level") and not 0 < request.conformal_level < 1:
            raise InvalidRequest(
                f"conformal_level: must be above 0 and below 1, is {request.conformal_level}",
                field="conformal_level",
                limit="above 0, below 1",
                value=request.conformal_level,
            )
        if request.heads and request.version:
            raise InvalidRequest(
                f"version: cannot be named together with heads, is {request.version}",
                field="version",
                limit=0,
                value=request.version,
            )

    async def _groups(
        self,
        request: prediction_pb2.PredictRequest,
        outcomes: dict[int, Resolved | Exception],
    ) -> list[_Group]:
        """Loads every head once; a head that a row names itself fails that row alone."""
        by_head = group_rows_by_head(request.head, request.heads, len(request.inputs))
        groups = []
        for name, rows in by_head.items():
            try:
                groups.append(await self._group(request, name, rows))
            except Exception as error:
                if not request.heads:
                    raise
                for row in rows:
                    outcomes[row] = error
        return groups

    async def _group(
        self, request: prediction_pb2.PredictRequest, name: str, rows: list[int]
    ) -> _Group:
        if request.heads and not _same_tenant(name, request.head):
            raise InvalidRequest(
                f"heads: must be of the same tenant as {request.head[:200]}, is {name[:200]}",
                field="heads",
                limit="one tenant",
                value=name,
            )
        if request.version:
            loaded = await self._heads.version(name, request.version)
        else:
            loaded = await self._heads.active(name)
            if loaded.policy == Policy.IMMEDIATE:
                loaded = await self._live.serving(loaded)
        backbone = self._extractor.backbone(loaded.backbone)
        if backbone.fingerprint != loaded.head.fingerprint:
            raise FingerprintMismatch(
                f"head: {name} was trained for fingerprint {loaded.head.fingerprint}, backbone "
                f"{backbone.name} has {backbone.fingerprint}; train it again",
                field="fingerprint",
                limit=backbone.fingerprint,
                value=loaded.head.fingerprint,
            )
        if request.HasField("conformal_level") and loaded.head.conformal is None:
            raise PreconditionFailed(
                f"conformal_level: version {loaded.version} of {name} has no held-out scores to "
                "make sets with: it was imported, or there were too few examples",
                field="conformal_level",
                limit="a version with an estimate",
                value=request.conformal_level,
            )
        return _Group(loaded, backbone, rows)

    def _finish(
        self,
        response: prediction_pb2.PredictResponse,
        outcomes: Mapping[int, Resolved | Exception],
        call: Call,
        head_seconds: float,
        total_seconds: float,
    ) -> None:
        succeeded = 0
        timing = response.timing
        for row, outcome in sorted(outcomes.items()):
            if isinstance(outcome, Exception):
                response.errors.append(row_error(row, outcome, call.request_id))
                continue
            succeeded += 1
            timing.decode_seconds = max(timing.decode_seconds, outcome.decode_seconds)
            timing.queue_seconds = max(timing.queue_seconds, outcome.queue_seconds)
            timing.backbone_seconds = max(timing.backbone_seconds, outcome.backbone_seconds)
        timing.head_seconds = head_seconds
        timing.total_seconds = total_seconds
        if succeeded:
            self._metrics.count_rows(call.method, "OK", call.tenant, succeeded)


async def _score(
    group: _Group,
    outcomes: Mapping[int, Resolved | Exception],
    request: prediction_pb2.PredictRequest,
) -> prediction_pb2.HeadPredictions:
    """What a head says of its rows, in one product; a large one is computed in a thread."""
    loaded = group.loaded
    rows = [row for row in group.rows if isinstance(outcomes[row], Resolved)]
    vectors = np.empty((len(rows), loaded.head.dim), dtype=np.float32)
    for i, row in enumerate(rows):
        vectors[i] = _resolved(outcomes[row]).vector
    level = request.conformal_level if request.HasField("conformal_level") else None
    if vectors.size * _width(loaded.head) > INLINE_MULTIPLICATIONS:
        reply = await asyncio.to_thread(_answer, loaded.head, vectors, request.top_k, level)
    else:
        reply = _answer(loaded.head, vectors, request.top_k, level)
    reply.head, reply.version, reply.live = loaded.resource, loaded.version, loaded.live
    reply.rows.extend(rows)
    return reply


def _answer(
    head: Head, vectors: NDArray[np.float32], top_k: int, level: float | None
) -> prediction_pb2.HeadPredictions:
    """Probabilities, best first, and what else was asked for, of embeddings (rows, dim)."""
    classes = len(head.labels)
    k = min(top_k, classes) or classes
    probabilities = head.probabilities(vectors)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    reply = prediction_pb2.HeadPredictions(
        labels=head.labels,
        indices=to_tensor(order.astype(np.uint32)),
        probabilities=to_tensor(np.take_along_axis(probabilities, order, axis=1)),
    )
    if level is not None and head.conformal is not None:
        sets = head.conformal.sets(head.logits(vectors), level)
        reply.set_sizes.CopyFrom(to_tensor(sets.sum(axis=1, dtype=np.uint32)))
        reply.set_indices.CopyFrom(to_tensor(np.nonzero(sets)[1].astype(np.uint32)))
    if head.novelty is not None:
        novelty = head.novelty.scores(vectors)
        reply.novelty.CopyFrom(to_tensor(novelty))
        reply.novel.extend((novelty > 1).tolist())
        reply.abstains = head.novelty.abstain
    return reply


def _width(head: Head) -> int:
    """Multiplications that one number of an embedding takes part in, roughly."""
    front = head.front.width if head.front is not None else 0
    kept = len(head.novelty.bank) if head.novelty is not None else 0
    return len(head.labels) + front + kept


def check_rows(field: str, count: int, limit: int) -> None:
    """Refuses a request without rows or with too many.

    Raises:
        InvalidRequest: naming field, limit and value.
    """
    if not 1 <= count <= limit:
        raise InvalidRequest(
            f"{field}: from 1 to {limit} in one request, has {count}",
            field=field,
            limit=limit,
            value=count,
        )


def _rows_by_backbone(groups: Sequence[_Group]) -> list[tuple[BackboneInfo, list[int]]]:
    """The rows of all heads of a backbone together, so that they may share a batch."""
    rows: dict[str, tuple[BackboneInfo, list[int]]] = {}
    for group in groups:
        rows.setdefault(group.backbone.name, (group.backbone, []))[1].extend(group.rows)
    return list(rows.values())


def _resolved(outcome: Resolved | Exception) -> Resolved:
    assert isinstance(outcome, Resolved)
    return outcome


def _same_tenant(name: str, head: str) -> bool:
    return name.split("/", 2)[:2] == head.split("/", 2)[:2]
