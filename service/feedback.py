"""Feedback: right labels, stored before they are acknowledged, used by the next training."""

from __future__ import annotations

import uuid

from service.calls import Call
from service.config import ServerSettings
from service.embeddings import Embeddings
from service.errors import InvalidRequest
from service.extraction import Extractor
from service.inputs import RawInput, read_inputs
from service.labelled_rows import (
    check_feedback_id,
    check_label,
    head_backbone,
    new_example,
)
from service.messages import row_error
from service.metrics import Metrics
from service.prediction import check_rows
from service.store import Database
from service.store import feedback as stored_feedback
from service.store import heads as stored_heads
from service.store.feedback import NewFeedback
from trunkline.resources import HeadName
from trunkline.v1 import prediction_pb2


class FeedbackLog:
    """The use case behind ``SendFeedback``."""

    def __init__(
        self,
        database: Database,
        extractor: Extractor,
        embeddings: Embeddings,
        settings: ServerSettings,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._extractor = extractor
        self._embeddings = embeddings
        self._settings = settings
        self._metrics = metrics

    async def send(
        self, request: prediction_pb2.SendFeedbackRequest, call: Call
    ) -> prediction_pb2.SendFeedbackResponse:
        """Stores every row; a row that fails costs itself alone."""
        check_rows("feedback", len(request.feedback), self._settings.max_rows_per_request)
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        backbone = head_backbone(self._extractor, head)
        limits = self._settings.input_limits
        inputs = await read_inputs([item.input for item in request.feedback], limits)
        raws = [self._checked(*pair) for pair in zip(request.feedback, inputs, strict=True)]
        resolved = await self._embeddings.resolve(
            head.tenant, backbone, raws, deadline=call.deadline, look_in_store=True
        )
        response = prediction_pb2.SendFeedbackResponse()
        new: dict[int, NewFeedback] = {}
        for row, (item, raw, outcome) in enumerate(
            zip(request.feedback, raws, resolved, strict=True)
        ):
            response.ids.append("")
            response.digests.append(raw.digest if isinstance(raw, RawInput) else "")
            response.duplicates.append(False)
            if isinstance(outcome, Exception):
                response.errors.append(row_error(row, outcome, call.request_id))
            elif isinstance(raw, RawInput):
                keep = head.keep_inputs
                example = new_example(raw, outcome, item.label, "feedback", keep_input=keep)
                new[row] = NewFeedback(item.id or uuid.uuid4().hex, example, item.label)
        duplicates = await self._database.write(
            stored_feedback.store_feedback,
            head.uid,
            list(new.values()),
            max_examples=self._settings.max_examples_per_head,
        )
        for (row, stored), duplicate in zip(new.items(), duplicates, strict=True):
            response.ids[row] = stored.feedback_id
            response.duplicates[row] = duplicate
        tenant = self._metrics.tenant(call.tenant)
        self._metrics.feedback.labels(tenant).inc(duplicates.count(False))
        return response

    def _checked(
        self, item: prediction_pb2.Feedback, raw: RawInput | Exception
    ) -> RawInput | Exception:
        try:
            check_label(item.label, self._settings.max_label_bytes)
            if item.id:
                check_feedback_id(item.id)
        except InvalidRequest as error:
            return error
        return raw
