"""The RPCs ``SendFeedback``, ``ListFeedback`` and ``ReleaseFeedback``."""

from __future__ import annotations

import uuid
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from service.config import ServerSettings
from service.embedding.feedback_rows import resolve_for_feedback
from service.embedding.head_backbones import head_backbone
from service.embedding.resolved import new_example
from service.embedding.resolver import EmbeddingResolver
from service.errors import InvalidRequest
from service.extraction import Extractor
from service.metrics import Metrics
from service.replies.live import feedback_message, read_feedback_state
from service.replies.rows import row_error
from service.requests.call import Call
from service.requests.fields import (
    check_external_id,
    check_feedback_id,
    check_label,
    check_rows,
)
from service.requests.inputs import RawInput, read_inputs
from service.requests.metadata import check_metadata, metadata_of
from service.requests.paging import PageTokens, page_size
from service.store import Database
from service.store import feedback as stored_feedback
from service.store import heads as stored_heads
from service.store.feedback import NewFeedback
from service.store.feedback_rules import AllowedLabels
from service.store.head_records import HeadRecord
from trunkline.labels import normalised
from trunkline.resources import HeadName
from trunkline.v1 import heads_pb2, prediction_pb2

MAX_IDS = 10_000


@dataclass(eq=False)
class Feedback:
    """Stores right labels before it acknowledges them; the live copy learns them afterwards."""

    _database: Database
    _extractor: Extractor
    _embeddings: EmbeddingResolver
    _settings: ServerSettings
    _metrics: Metrics
    _tokens: PageTokens

    async def send_feedback(
        self, request: prediction_pb2.SendFeedbackRequest, call: Call
    ) -> prediction_pb2.SendFeedbackResponse:
        """Stores every row; a row that fails costs itself alone."""
        check_rows("feedback", len(request.feedback), self._settings.max_rows_per_request)
        name = HeadName.parse(request.head)
        ids = [item.id for item in request.feedback]
        head, labels, known = await self._database.read(
            _head, name, self._settings.max_classes, ids
        )
        backbone = head_backbone(self._extractor, head)
        limits = self._settings.input_limits
        inputs = await read_inputs([item.input for item in request.feedback], limits)
        raws = self._checked(request, inputs, labels, known)
        resolved, by_tail = await resolve_for_feedback(
            self._database, self._embeddings, head, backbone, raws, call.deadline
        )
        response = prediction_pb2.SendFeedbackResponse()
        new: dict[int, NewFeedback] = {}
        for row, (item, raw, outcome, tailed) in enumerate(
            zip(request.feedback, raws, resolved, by_tail, strict=True)
        ):
            response.ids.append("")
            response.digests.append(raw.digest if isinstance(raw, RawInput) else "")
            response.duplicates.append(False)
            response.previous_labels.append("")
            if isinstance(outcome, Exception) or isinstance(tailed, Exception):
                error = outcome if isinstance(outcome, Exception) else tailed
                assert isinstance(error, Exception)
                response.errors.append(row_error(row, error, call.request_id))
            elif isinstance(raw, RawInput):
                keep = head.keep_inputs
                label = normalised(item.label)
                example = new_example(
                    raw,
                    outcome,
                    label,
                    "feedback",
                    keep_input=keep,
                    external_id=item.external_id if item.HasField("external_id") else None,
                    metadata=metadata_of(item),
                )
                if head.tail is not None:
                    example = replace(example, tail=(head.tail, tailed.vector))
                new[row] = NewFeedback(item.id or uuid.uuid4().hex, example, label)
        stored = await self._database.write(
            stored_feedback.store_feedback,
            head.uid,
            list(new.values()),
            max_examples=self._settings.max_examples_per_head,
            max_classes=self._settings.max_classes,
            fingerprint=head.fingerprint,
        )
        for i, (row, feedback) in enumerate(new.items()):
            if i in stored.errors:
                response.errors.append(row_error(row, stored.errors[i], call.request_id))
                continue
            response.ids[row] = feedback.feedback_id
            response.duplicates[row] = stored.duplicates[i]
            if feedback.example.truncated:
                response.truncated.append(row)
            response.previous_labels[row] = stored.replaced.get(i, "")
        response.errors.sort(key=lambda error: error.row)
        tenant = self._metrics.tenant(call.tenant)
        self._metrics.feedback.labels(tenant).inc(stored.added)
        return response

    async def list_feedback(
        self, request: heads_pb2.ListFeedbackRequest, call: Call
    ) -> heads_pb2.ListFeedbackResponse:
        """Returns a page of feedback, oldest first."""
        size = page_size(request.page_size)
        state = read_feedback_state(request.state)
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        listed = f"feedback/{head.uid}"
        after = self._tokens.read(listed, request.page_token, int)
        found = await self._database.read(
            stored_feedback.list_feedback, head.uid, after=after, limit=size + 1, state=state
        )
        page = found[:size]
        return heads_pb2.ListFeedbackResponse(
            feedback=[feedback_message(item) for item in page],
            next_page_token=self._tokens.write(listed, page[-1].id) if len(found) > size else "",
        )

    async def release_feedback(
        self, request: heads_pb2.ReleaseFeedbackRequest, call: Call
    ) -> heads_pb2.ReleaseFeedbackResponse:
        """Takes feedback out of quarantine; a row that fails costs itself alone."""
        if request.all and request.ids:
            raise InvalidRequest.at(
                "ids", "must be empty together with all, has {value}", 0, len(request.ids)
            )
        if not request.all:
            check_rows("ids", len(request.ids), MAX_IDS)
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        ids = None if request.all else list(request.ids)
        released, errors = await self._database.write(
            stored_feedback.release_feedback, head.uid, ids
        )
        return heads_pb2.ReleaseFeedbackResponse(
            released=released,
            errors=[row_error(row, error, call.request_id) for row, error in errors.items()],
        )

    def _checked(
        self,
        request: prediction_pb2.SendFeedbackRequest,
        inputs: list[RawInput | Exception],
        labels: AllowedLabels,
        known: Set[str],
    ) -> list[RawInput | Exception]:
        """Returns the inputs or their rows' errors; new labels count towards the limit.

        Labels of known feedback were checked when it was stored.
        """
        new: set[str] = set()
        checked: list[RawInput | Exception] = []
        for item, raw in zip(request.feedback, inputs, strict=True):
            try:
                label = check_label(item.label, self._settings.max_label_bytes)
                if item.id:
                    check_feedback_id(item.id)
                if item.id not in known:
                    labels.check(label, new)
                check_external_id(item.external_id)
                check_metadata("metadata", item.metadata.pairs)
            except InvalidRequest as error:
                checked.append(error)
            else:
                checked.append(raw)
        return checked


def _head(
    connection: Connection, name: HeadName, max_classes: int, ids: Sequence[str]
) -> tuple[HeadRecord, AllowedLabels, Set[str]]:
    """Returns the head, the labels that new feedback may have, and which of the ids are known."""
    head = stored_heads.get_head(connection, name.tenant, name.head)
    labels = stored_feedback.allowed_labels(connection, head, max_classes)
    return head, labels, stored_feedback.seen_feedback(connection, head.uid, ids).keys()
