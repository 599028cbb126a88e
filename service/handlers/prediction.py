"""The RPC ``Predict``: embeds inputs, groups rows by head, returns calibrated probabilities."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from adapters.spec import FLIPS
from models import InputLimits, Modality
from service.capture.queue import Answers, Captures, TakenRow
from service.concurrency.tasks import gather_or_raise
from service.embedding.head_backbones import loaded_backbone
from service.embedding.image_views import (
    InputWithViews,
    ViewMaker,
    check_only_of_images,
    check_views,
    count_views,
    split_by_views,
    with_views,
)
from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.errors import InvalidRequest, PreconditionFailed, is_hidden
from service.extraction import BackboneInfo, Extractor
from service.live import LiveCopies
from service.metrics import Metrics
from service.replies.rows import note_longest, row_error
from service.requests.call import Call
from service.requests.fields import check_rows
from service.requests.inputs import RawInput, read_inputs
from service.requests.names_of_inputs import Said, check_names, read_names
from service.requests.reply_size import check_reply
from service.requests.tensors import FLOAT_BYTES
from service.serving.head_cache import HeadCache, LoadedHead
from service.serving.neighbours import Space
from service.serving.reasons import NEIGHBOUR_BYTES, Reasons, check_neighbours
from service.serving.scoring import Decide, score
from trunkline.resources import HeadName
from trunkline.v1 import prediction_pb2

LABEL_BYTES = 3
"""Around each label in a reply."""

NOVELTY_BYTES = 16
"""Size of a row's number, its novelty, whether it is novel, and its decision."""

Outcome = Sequence[Resolved] | Exception
"""A row's embeddings, that of the input itself and those of its views; or its error."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The rows of one head in one request."""

    loaded: LoadedHead
    backbone: BackboneInfo
    rows: list[int]
    views: int


@dataclass(eq=False)
class Prediction:
    """Classifies inputs with one head, or each row with a head of its own."""

    _extractor: Extractor
    _embeddings: EmbeddingResolver
    _head_cache: HeadCache
    _live: LiveCopies
    _views: ViewMaker
    _limits: InputLimits
    _max_rows: int
    _metrics: Metrics
    _reasons: Reasons
    _captures: Captures

    async def predict(
        self, request: prediction_pb2.PredictRequest, call: Call
    ) -> prediction_pb2.PredictResponse:
        """Classifies every row; a row that fails costs itself alone."""
        started, deletions = time.perf_counter(), self._captures.deletions
        self._check(request)
        check_neighbours(request.neighbours, call.caller)
        outcomes: dict[int, Outcome] = {}
        groups = await self._groups(request, outcomes, call)
        _check_reply(groups, request, call)
        raws = await read_inputs(request.inputs, self._limits)
        said = read_names(request, raws)
        asked = request.HasField("average_views")
        counts: dict[int, int] = {}
        for group in groups:
            counts |= count_views(raws, group.rows, group.views, asked=asked)
        for part in split_by_views(counts, self._max_rows):
            outcomes |= await self._resolve_part(groups, raws, part, call)
        scored = time.perf_counter()
        response = prediction_pb2.PredictResponse(
            digests=[raw.digest if isinstance(raw, RawInput) else "" for raw in raws]
        )
        for group in groups:
            message, answers = await _score(group, outcomes, request)
            message.neighbours.extend(await self._neighbours(group, message, outcomes, request))
            response.predictions.append(message)
            if answers is not None:
                taken = partial(_taken, message.rows, raws, outcomes, said)
                asked = request.capture == prediction_pb2.CAPTURE_CHOICE_ALWAYS
                self._captures.offer(answers, taken, deletions, asked=asked)
        ended = time.perf_counter()
        for group in groups:
            seconds = (ended - scored) / len(groups)
            self._metrics.observe_head(group.backbone.name, seconds)
        for predictions in response.predictions:
            self._metrics.count_decisions(call.tenant, predictions.decisions)
        self._finish(response, outcomes, call, ended - scored, ended - started)
        return response

    def _check(self, request: prediction_pb2.PredictRequest) -> None:
        check_views(request.average_views)
        # Each view that is asked for goes through the pipeline as a row of its own.
        check_rows("inputs", len(request.inputs), self._max_rows // (1 + request.average_views))
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
        check_names(request)
        if request.heads and request.version:
            raise InvalidRequest.at(
                "version", "cannot be named together with heads, is {value}", 0, request.version
            )

    async def _groups(
        self,
        request: prediction_pb2.PredictRequest,
        outcomes: dict[int, Outcome],
        call: Call,
    ) -> list[_Group]:
        """Loads every head once; a head that a row names itself fails that row alone."""
        by_head = group_rows_by_head(request.head, request.heads, len(request.inputs))
        groups = []
        for name, rows in by_head.items():
            try:
                if request.heads and _same_tenant(name, request.head):
                    call.caller.check_head(HeadName.parse(name))
                groups.append(await self._group(request, name, rows))
            except Exception as error:
                if not request.heads:
                    raise
                if is_hidden(error):
                    call.hidden_head = call.hidden_head or name
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
            loaded = await self._head_cache.version(name, request.version)
        else:
            loaded = await self._live.serving(await self._head_cache.active(name))
        backbone = loaded_backbone(self._extractor, name, loaded.backbone, loaded.fingerprint)
        check_only_of_images("average_views", request.average_views, backbone.modality)
        if loaded.flips:
            check_views(request.average_views, FLIPS)
        views = request.average_views
        if not request.HasField("average_views") and backbone.modality is Modality.IMAGE:
            views = loaded.average_views
        if loaded.tail is not None:
            backbone = backbone.with_tail(loaded.tail)
        if request.HasField("conformal_level") and loaded.head.conformal is None:
            raise PreconditionFailed(
                f"conformal_level: version {loaded.version} of {name} has no held-out scores to "
                "make sets with: it was imported, or there were too few examples",
                field="conformal_level",
                limit="a version with an estimate",
                value=request.conformal_level,
            )
        if request.capture == prediction_pb2.CAPTURE_CHOICE_ALWAYS and loaded.capture is None:
            raise PreconditionFailed(
                f"capture: {name} keeps nothing of its traffic; its own `capture` has to be set",
                field="capture",
                limit="a head that captures",
                value="always",
            )
        return _Group(loaded, backbone, rows, views)

    async def _resolve_part(
        self,
        groups: Sequence[_Group],
        raws: Sequence[RawInput | Exception],
        counts: Mapping[int, int],
        call: Call,
    ) -> dict[int, Outcome]:
        """Embeds some rows with so many views of each."""
        rows = list(counts)
        flipped = {row for group in groups if group.loaded.flips for row in group.rows}
        made = await with_views(
            [raws[row] for row in rows],
            list(counts.values()),
            self._views,
            call.tenant,
            deadline=call.deadline,
            flipped={place for place, row in enumerate(rows) if row in flipped},
        )
        return await self._resolve(groups, dict(zip(rows, made, strict=True)), call)

    async def _resolve(
        self, groups: Sequence[_Group], views: Mapping[int, InputWithViews], call: Call
    ) -> dict[int, Outcome]:
        """Embeds rows; what takes different tails goes through the prefix in the same batch."""
        parts = [
            (backbone, [row for row in rows if row in views])
            for backbone, rows in _rows_by_backbone(groups)
        ]
        resolved = await gather_or_raise(
            [
                self._embeddings.resolve(
                    call.tenant,
                    backbone,
                    [view for row in rows for view in views[row]],
                    deadline=call.deadline,
                )
                for backbone, rows in parts
            ]
        )
        outcomes: dict[int, Outcome] = {}
        for (_, rows), found in zip(parts, resolved, strict=True):
            each = iter(found)
            outcomes |= {
                row: _outcome(list(itertools.islice(each, len(views[row])))) for row in rows
            }
        return outcomes

    async def _neighbours(
        self,
        group: _Group,
        reply: prediction_pb2.HeadPredictions,
        outcomes: Mapping[int, Outcome],
        request: prediction_pb2.PredictRequest,
    ) -> list[prediction_pb2.Neighbours]:
        if not request.neighbours:
            return []
        loaded = group.loaded
        space = Space(loaded.tenant, loaded.uid, group.backbone.fingerprint)
        found = [outcomes[row] for row in reply.rows]
        vectors = [views[0].vector for views in found if not isinstance(views, Exception)]
        return await self._reasons.of(space, vectors, request.neighbours)

    def _finish(
        self,
        response: prediction_pb2.PredictResponse,
        outcomes: Mapping[int, Outcome],
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
            if any(view.truncated for view in outcome):
                response.truncated.append(row)
            note_longest(timing, outcome)
        timing.head_seconds = head_seconds
        timing.total_seconds = total_seconds
        if succeeded:
            self._metrics.count_rows(call.method, "OK", call.tenant, succeeded)


def _check_reply(
    groups: Sequence[_Group], request: prediction_pb2.PredictRequest, call: Call
) -> None:
    """Refuses rows whose scores, sets and labels would be more than the client takes."""
    shared = widest = 0
    for group in groups:
        labels = group.loaded.head.labels
        shared += sum(len(label.encode()) + LABEL_BYTES for label in labels)
        scores = 2 * (min(request.top_k, len(labels)) or len(labels))
        sets = 1 + len(labels) if request.HasField("conformal_level") else 0
        longest = max((len(label.encode()) for label in labels), default=0)
        shown = request.neighbours * (NEIGHBOUR_BYTES + longest)
        widest = max(widest, FLOAT_BYTES * (scores + sets) + NOVELTY_BYTES + shown)
    check_reply(call, len(request.inputs), widest, shared, " or ask for fewer classes (top_k)")


async def _score(
    group: _Group, outcomes: Mapping[int, Outcome], request: prediction_pb2.PredictRequest
) -> tuple[prediction_pb2.HeadPredictions, Answers | None]:
    """Scores a head's rows; returns what the client is told, and what may be captured of it."""
    loaded = group.loaded
    found = {row: outcomes[row] for row in group.rows}
    views = {row: found for row, found in found.items() if not isinstance(found, Exception)}
    vectors = np.empty((len(views), 1 + group.views, loaded.head.dim), np.float32)
    for i, resolved in enumerate(views.values()):
        vectors[i] = resolved[0].vector  # the mean over copies is that of the input by itself
        for j, view in enumerate(resolved):
            vectors[i, j] = view.vector
    level = request.conformal_level if request.HasField("conformal_level") else None
    decide = None
    if loaded.acceptance is not None:
        decide = Decide(loaded.acceptance.threshold, loaded.unproven)
    reply, rows = await score(loaded.head, vectors, request.top_k, level, decide)
    reply.head, reply.version, reply.live = loaded.resource, loaded.version, loaded.live
    reply.rows.extend(views)
    reply.described = loaded.described
    if loaded.capture is None or not _may_capture(request):
        return reply, None
    facts = (loaded.uid, loaded.tenant, loaded.version, loaded.live, loaded.capture)
    return reply, Answers(*facts, loaded.head, group.backbone.fingerprint, rows)


def _may_capture(request: prediction_pb2.PredictRequest) -> bool:
    """Returns whether anything may be captured: rules are not asked about a version by name."""
    if request.capture == prediction_pb2.CAPTURE_CHOICE_UNSPECIFIED:
        return not request.version
    return request.capture == prediction_pb2.CAPTURE_CHOICE_ALWAYS


def _taken(
    rows: Sequence[int],
    raws: Sequence[RawInput | Exception],
    outcomes: Mapping[int, Outcome],
    said: Sequence[Said],
    place: int,
) -> TakenRow:
    """Returns the input at a place among those that a head has scored."""
    row = rows[place]
    raw, outcome = raws[row], outcomes[row]
    assert isinstance(raw, RawInput)
    assert not isinstance(outcome, Exception)
    return TakenRow(raw, outcome[0], *(said[row] if said else ()))


def _rows_by_backbone(groups: Sequence[_Group]) -> list[tuple[BackboneInfo, list[int]]]:
    """Groups the rows of all heads that take the same embeddings."""
    rows: dict[str, tuple[BackboneInfo, list[int]]] = {}
    for group in groups:
        rows.setdefault(group.backbone.fingerprint, (group.backbone, []))[1].extend(group.rows)
    return list(rows.values())


def _outcome(resolved: Sequence[Resolved | Exception]) -> Outcome:
    """Returns a row's embeddings, or the first error among them."""
    error = next((view for view in resolved if isinstance(view, Exception)), None)
    return [view for view in resolved if isinstance(view, Resolved)] if error is None else error


def _same_tenant(name: str, head: str) -> bool:
    return name.split("/", 2)[:2] == head.split("/", 2)[:2]


def group_rows_by_head(head: str, heads: Sequence[str], rows: int) -> dict[str, list[int]]:
    """Returns the row indices of each head, in the order of the heads' first appearance.

    Args:
        head: the head of rows that name none.
        heads: empty, or one name per row; an empty name stands for `head`.
        rows: how many rows there are.
    """
    if not heads:
        return {head: list(range(rows))}
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(heads):
        groups.setdefault(name or head, []).append(row)
    return groups
