"""Predicting: inputs to embeddings, rows grouped by head, calibrated probabilities out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models import InputLimits
from service.calls import Call
from service.embeddings import Embeddings, Resolved
from service.errors import FingerprintMismatch, InvalidRequest
from service.extraction import BackboneInfo, Extractor
from service.grouping import group_rows_by_head
from service.inputs import RawInput, read_inputs, to_tensor
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
        limits: InputLimits,
        max_rows: int,
        metrics: Metrics,
    ) -> None:
        self._extractor = extractor
        self._embeddings = embeddings
        self._heads = heads
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
            response.predictions.append(await self._score(group, outcomes, request.top_k))
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
        backbone = self._extractor.backbone(loaded.backbone)
        if backbone.fingerprint != loaded.head.fingerprint:
            raise FingerprintMismatch(
                f"head: {name} was trained for fingerprint {loaded.head.fingerprint}, backbone "
                f"{backbone.name} has {backbone.fingerprint}; train it again",
                field="fingerprint",
                limit=backbone.fingerprint,
                value=loaded.head.fingerprint,
            )
        return _Group(loaded, backbone, rows)

    async def _score(
        self, group: _Group, outcomes: Mapping[int, Resolved | Exception], top_k: int
    ) -> prediction_pb2.HeadPredictions:
        rows = [row for row in group.rows if isinstance(outcomes[row], Resolved)]
        head = group.loaded.head
        classes = len(head.labels)
        k = min(top_k, classes) or classes
        if rows:
            vectors = np.array([_resolved(outcomes[row]).vector for row in rows])
            if vectors.size * classes > INLINE_MULTIPLICATIONS:
                probabilities = await asyncio.to_thread(head.probabilities, vectors)
            else:
                probabilities = head.probabilities(vectors)
        else:
            probabilities = np.empty((0, classes), dtype=np.float32)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        return prediction_pb2.HeadPredictions(
            head=group.loaded.resource,
            version=group.loaded.version,
            labels=head.labels,
            rows=rows,
            indices=to_tensor(order.astype(np.uint32)),
            probabilities=to_tensor(probabilities[np.arange(len(rows))[:, None], order]),
        )

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
