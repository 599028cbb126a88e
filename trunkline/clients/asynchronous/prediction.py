"""Predictions, and the right labels that become known after them."""

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from trunkline import replies
from trunkline.clients.async_waiting import held, in_thread, next_part
from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.clients.specs import capture_choice, state_number
from trunkline.rows.chunking import MAX_MESSAGE_ROWS
from trunkline.rows.labelled_rows import Labelled, LabelledRows
from trunkline.rows.names import RowNames
from trunkline.rows.outcomes import Outcomes, asked, changed, failures
from trunkline.v1 import heads_pb2, prediction_pb2
from trunkline.values.estimates import Estimate
from trunkline.values.examples import FeedbackRecord, FeedbackState
from trunkline.values.inputs import InputLike
from trunkline.values.outcomes import Changes, Classification, Prediction, Receipt, RowFailure
from trunkline.values.sequences import check_label, inputs_in, pairs_in, strings_in
from trunkline.wire.building import build
from trunkline.wire.names import head_name, tenant_name
from trunkline.wire.reading import read


class AsyncPrediction(AsyncTransport):
    """The calls about predictions and feedback."""

    async def predict(
        self,
        head: str,
        inputs: Iterable[InputLike],
        top_k: int = 0,
        version: int | None = None,
        *,
        conformal_level: float | None = None,
        average_views: int | None = None,
        neighbours: int = 0,
        capture: str | None = None,
        external_ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, str]] | None = None,
        timeout: float | None = None,
    ) -> list[Prediction | RowFailure]:
        """Classifies each input; returns, in order, the prediction or why that row failed.

        `top_k` bounds the classes per row (0 for all); `version` None is the active one. With a
        `conformal_level` above 0 and below 1 every row has a set of classes, too, which holds the
        right one with that probability. With `average_views`, so many views of each image (at most
        32) are looked at, too, and the probabilities averaged; 0 is for none, None for as many as
        the head's own spec says. Each prediction comes with so many `neighbours` (at most 20) among
        the labelled examples, which a key for predictions alone may not ask for.

        `capture` "always" keeps the inputs for people to look at, "never" does not, whatever the
        head's rules; `external_ids` and `metadata`, one for each input, are kept with it.
        """
        given, said = inputs_in(inputs), RowNames((), ())
        if external_ids is not None or metadata is not None:
            given = list(given)
            said = RowNames.of(len(given), external_ids, metadata)
        items, reads_files = held(given)
        outcomes: Outcomes[Prediction] = Outcomes()
        request = build(
            prediction_pb2.PredictRequest,
            head=str(head_name(head)),
            top_k=top_k,
            version=version or 0,
            conformal_level=conformal_level,
            average_views=average_views,
            neighbours=neighbours,
            capture=capture_choice(capture),
        )
        # The views of each input count as inputs.
        parts = outcomes.parts(items, max(1, MAX_MESSAGE_ROWS // (1 + request.average_views)))
        while rows := await next_part(parts, reads_files=reads_files):
            request.ClearField("inputs")
            request.inputs.extend(row.input.message() for row in rows)
            said.put(request, [row.index for row in rows])
            reply = await self._call(self._prediction.Predict, request, timeout)
            outcomes.add(rows, replies.predictions(reply, len(rows)))
        return outcomes.in_order()

    async def classify(
        self,
        tenant: str,
        inputs: Iterable[InputLike],
        examples: Iterable[Labelled],
        backbone: str = "",
        top_k: int = 0,
        *,
        timeout: float | None = None,
    ) -> Classification:
        """Classifies each input by (input, label) pairs given with them; nothing is stored.

        There are at most 200 `examples`, of two classes at least; as `NewExample` also with their
        group. An example that fails has no part, and is named. Without `backbone`, the default of
        the inputs' modality makes the embeddings. For the same examples again and again make a
        head: each call fits a new one.
        """
        items, reads_files = held(inputs_in(inputs))
        labelled = await in_thread(LabelledRows, examples)
        outcomes: Outcomes[Prediction] = Outcomes()
        request = build(
            prediction_pb2.ClassifyRequest,
            tenant=str(tenant_name(tenant)),
            backbone=backbone,
            top_k=top_k,
            examples=await in_thread(labelled.at_once),
        )
        reply = prediction_pb2.ClassifyResponse()
        parts = outcomes.parts(items)
        while rows := await next_part(parts, reads_files=reads_files):
            request.ClearField("inputs")
            request.inputs.extend(row.input.message() for row in rows)
            reply = await self._call(self._prediction.Classify, request, timeout)
            outcomes.add(rows, replies.classified(reply, len(rows)))
        return Classification(
            outcomes=tuple(outcomes.in_order()),
            estimate=read(Estimate, reply.estimate) if reply.HasField("estimate") else None,
            family=reply.family,
            backbone=reply.backbone,
            example_failures=tuple(labelled.failures(reply.example_errors)),
            truncated_examples=labelled.places(reply.truncated_examples),
        )

    async def feedback(
        self,
        head: str,
        items: Iterable[tuple[InputLike, str]],
        *,
        external_ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, str]] | None = None,
        timeout: float | None = None,
    ) -> list[Receipt | RowFailure]:
        """Stores the right labels of (input, label) pairs durably: a receipt or a failure each.

        `external_ids` and `metadata`, one for each pair, are stored with the examples; without them
        what is stored stays.
        """
        pairs = list(pairs_in(items, "feedback"))
        said = RowNames.of(len(pairs), external_ids, metadata)
        outcomes: Outcomes[Receipt] = Outcomes()
        request = build(prediction_pb2.SendFeedbackRequest, head=str(head_name(head)))
        for index, (_, label) in enumerate(pairs):
            check_label(label, index)
        # All of them before anything is sent, so that a label that is none leaves nothing stored.
        # Ids made here make repeating harmless.
        records = [
            build(prediction_pb2.Feedback, id=str(uuid.uuid4()), label=label, **said.of_row(row))
            for row, (_, label) in enumerate(pairs)
        ]
        inputs, reads_files = held([item for item, _ in pairs])
        parts = outcomes.parts(inputs)
        while rows := await next_part(parts, reads_files=reads_files):
            request.ClearField("feedback")
            for row in rows:
                record = request.feedback.add(input=row.input.message())
                record.MergeFrom(records[row.index])
            reply = await self._call(self._prediction.SendFeedback, request, timeout)
            outcomes.add(rows, replies.receipts(reply, len(rows)))
        return outcomes.in_order()

    async def list_feedback(
        self, head: str, state: FeedbackState | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[FeedbackRecord]:
        """Lists the stored feedback (in this state), oldest first, fetched page by page."""
        request = build(
            heads_pb2.ListFeedbackRequest,
            head=str(head_name(head)),
            state=state_number(state),
        )
        async for page in self._pages(self._heads.ListFeedback, request, timeout):
            for row in page.feedback:
                yield read(FeedbackRecord, row)

    async def release_feedback(
        self, head: str, ids: Iterable[str] | None, *, timeout: float | None = None
    ) -> Changes:
        """Lets quarantined feedback, None for all of it, count again in trainings to come."""
        name, everything = str(head_name(head)), ids is None
        total = Changes(0, ())
        # All of it is one request, without an id.
        parts = [(0, [])] if ids is None else asked(strings_in(ids, "ids"))
        for first, part in parts:
            request = build(heads_pb2.ReleaseFeedbackRequest, head=name, ids=part, all=everything)
            reply = await self._call(
                self._heads.ReleaseFeedback, request, timeout, idempotent=False
            )
            total = changed(total, Changes(reply.released, failures(reply.errors, first)))
        return total
