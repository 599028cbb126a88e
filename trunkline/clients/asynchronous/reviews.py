"""Reviews of captured inputs, and the accuracy of what was served."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.errors import InvalidType
from trunkline.replies import reviews as replies
from trunkline.rows.outcomes import failures
from trunkline.v1 import reviews_pb2
from trunkline.values.foreign import type_of
from trunkline.values.outcomes import RowFailure
from trunkline.values.reviews import (
    Judged,
    Judgement,
    Review,
    ReviewOrder,
    ReviewState,
    ServedReport,
)
from trunkline.values.sequences import strings_in
from trunkline.wire.building import as_timestamp, build
from trunkline.wire.names import head_name, one_of
from trunkline.wire.reading import read

_AT_ONCE = 100


class AsyncReviews(AsyncTransport):
    """The calls about reviews."""

    async def list_reviews(
        self,
        head: str,
        order: ReviewOrder | str = ReviewOrder.NEWEST,
        *,
        state: ReviewState | str | None = None,
        predicted_label: str | None = None,
        sampled_at_random: bool = False,
        ids: Sequence[str] = (),
        external_ids: Sequence[str] = (),
        text: str = "",
        neighbours: int = 0,
        with_inputs: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Review]:
        """Lists captured inputs, those that wait unless told otherwise, fetched page by page.

        With `ids` or `external_ids`, at most 1,000, only those; with `sampled_at_random` only what
        was drawn whatever the answer was, with `text` only texts with each of its words.
        Each comes with so many `neighbours` (at most 20) among the labelled examples. `with_inputs`
        brings inputs, from the first of each page on, as many as fit into a message.
        """
        request = build(
            reviews_pb2.ListReviewsRequest,
            head=str(head_name(head)),
            order=_order(order),
            state=_state(state),
            predicted_label=predicted_label,
            sampled_at_random=sampled_at_random,
            ids=strings_in(ids, "ids"),
            external_ids=strings_in(external_ids, "external_ids"),
            text=text,
            neighbours=neighbours,
            with_inputs=with_inputs,
        )
        async for page in self._pages(self._reviews.ListReviews, request, timeout):
            for row in page.reviews:
                yield replies.review(row)

    async def lease_reviews(
        self,
        head: str,
        count: int = 10,
        order: ReviewOrder | str = ReviewOrder.NEWEST,
        *,
        reviewer: str = "",
        predicted_label: str | None = None,
        sampled_at_random: bool = False,
        ids: Sequence[str] = (),
        neighbours: int = 0,
        timeout: float | None = None,
    ) -> tuple[list[Review], int]:
        """Returns captured inputs to judge, with their inputs, and how many wait in all.

        They are leased for a minute: nobody else is given them, who calls with another key or
        another `reviewer` (at most 31 letters, digits and "_.-"). What is leased already comes
        again. `count` is at most 100. Each comes with so many `neighbours` (at most 20) among the
        labelled examples.
        """
        request = build(
            reviews_pb2.ListReviewsRequest,
            head=str(head_name(head)),
            page_size=count,
            order=_order(order),
            state=reviews_pb2.REVIEW_STATE_WAITING,
            predicted_label=predicted_label,
            sampled_at_random=sampled_at_random,
            ids=strings_in(ids, "ids"),
            lease=True,
            reviewer=reviewer,
            neighbours=neighbours,
            with_inputs=True,
        )
        reply = await self._call(self._reviews.ListReviews, request, timeout)
        return [replies.review(row) for row in reply.reviews], reply.waiting

    async def review(
        self,
        head: str,
        judgements: Mapping[str, Judgement | str],
        *,
        timeout: float | None = None,
    ) -> list[Judged | RowFailure]:
        """Says what captured inputs are, by their ids: a label, or a `Judgement`.

        A repeated judgement counts once, another one takes its place.
        """
        if not isinstance(judgements, Mapping):
            raise InvalidType(
                f"judgements must be a dict of id to judgement, is {type_of(judgements)}",
                field="judgements",
                limit="{id: judgement}",
                value=type(judgements).__name__,
            )
        rows = [_judgement(name, said) for name, said in judgements.items()]
        found: list[Judged | RowFailure] = []
        for first in range(0, len(rows), _AT_ONCE):
            request = build(
                reviews_pb2.ReviewRequest,
                head=str(head_name(head)),
                judgements=rows[first : first + _AT_ONCE],
            )
            reply = await self._call(self._reviews.Review, request, timeout)
            failed = {row.row: row for row in failures(reply.errors, first)}
            found += [
                failed.get(row) or read(Judged, judged)
                for row, judged in enumerate(reply.judged, first)
            ]
        return found

    async def served_accuracy(
        self,
        head: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        version: int | None = None,
        period: float = 86_400,
        timeout: float | None = None,
    ) -> ServedReport:
        """Returns how often the answers were right that were served, by a random share of them.

        From `start` on and before `end`, in UTC where they have no zone; of one version if it is
        given, over time in periods of so many seconds, 3,600 at least.
        """
        request = build(
            reviews_pb2.GetServedAccuracyRequest,
            head=str(head_name(head)),
            start_time=as_timestamp(start, "start"),
            end_time=as_timestamp(end, "end"),
            version=version or 0,
            period_seconds=round(period),
        )
        reply = await self._call(self._reviews.GetServedAccuracy, request, timeout)
        return read(ServedReport, reply)


def _order(order: ReviewOrder | str) -> reviews_pb2.ReviewOrder.ValueType:
    known = one_of(ReviewOrder, order, field="order")
    return reviews_pb2.ReviewOrder.Value(f"REVIEW_ORDER_{known.name}")


def _state(state: ReviewState | str | None) -> reviews_pb2.ReviewState.ValueType:
    if state is None:
        return reviews_pb2.REVIEW_STATE_UNSPECIFIED
    known = one_of(ReviewState, state, field="state")
    return reviews_pb2.ReviewState.Value(f"REVIEW_STATE_{known.name}")


def _judgement(name: str, said: Judgement | str) -> reviews_pb2.Judgement:
    if isinstance(said, Judgement):
        kind = reviews_pb2.JudgementKind.Value(f"JUDGEMENT_KIND_{said.name}")
        return build(reviews_pb2.Judgement, id=name, kind=kind)
    kind = reviews_pb2.JUDGEMENT_KIND_CORRECT
    return build(reviews_pb2.Judgement, id=name, kind=kind, label=said)
